"""N-EVENT-REPORT (PS3.7 10.1.1) on an association that meanwhile goes on as it was.

pynetdicom's `send_n_event_report` stops the association's thread and takes whatever comes next for the response: a peer
that sends a request of its own in that moment is aborted. Here the response is picked out of all that comes.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from queue import Empty, SimpleQueue

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext

from dicom_node.errors import InvalidOutput, PeerUnreachable
from dicom_node.receive.upper_layer import UpperLayer

SILENCE_S = 0.25
_LONGEST_WAIT_FOR_SILENCE_S = 10.0
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class EventReport:
    """What is reported, and of which SOP instance."""

    sop_class_uid: str
    sop_instance_uid: str
    message_id: int
    event_type: int
    information: Dataset


def context_for(assoc: Association, sop_class_uid: str) -> PresentationContext | None:
    """The accepted presentation context of a SOP class."""
    return next((each for each in assoc.accepted_contexts if each.abstract_syntax == sop_class_uid), None)


def falls_silent(assoc: Association, stop: threading.Event) -> bool:
    """Whether the peer says nothing for a moment: it is then neither hanging up nor waiting for an answer of ours."""
    began = time.monotonic()
    while assoc.is_established and time.monotonic() - began < _LONGEST_WAIT_FOR_SILENCE_S:
        silent_s = min(silence_s(assoc), time.monotonic() - began)
        if silent_s >= SILENCE_S:
            return True
        if stop.wait(SILENCE_S - silent_s):
            break
    return False


def silence_s(assoc: Association) -> float:
    """How long nothing was received, and nothing was under way that is to be answered."""
    if isinstance(assoc.dul, UpperLayer) and assoc.dul.has_message_under_way:
        return 0.0
    idle = assoc.dul._idle_timer
    return idle.timeout - idle.remaining if idle.timeout is not None else 0.0


def send_event_report(assoc: Association, report: EventReport, stop: threading.Event, *, timeout_s: float) -> int:
    """Report, and wait for the peer's answer. Returns its status (PS3.7 10.1.1.1.8).

    Raises PeerUnreachable if none comes in time, or before the association ends or the node is told to stop;
    InvalidOutput if there is nothing to send.
    """
    context = context_for(assoc, report.sop_class_uid)
    if context is None or context.context_id is None:
        raise PeerUnreachable("the association has no presentation context for the report")
    with _statuses(assoc, report.message_id) as statuses:
        assoc.dimse.send_msg(_request(report, context), context.context_id)
        deadline = time.monotonic() + timeout_s
        while assoc.is_established and time.monotonic() < deadline and not stop.is_set():
            with suppress(Empty):
                return statuses.get(timeout=_LOOK_EVERY_S)
        with suppress(Empty):  # the last words of a peer that hung up
            return statuses.get(block=False)
    limit = "in time" if assoc.is_established else "before the association ended"
    raise PeerUnreachable(f"no answer to the report {limit}")


@contextmanager
def _statuses(assoc: Association, message_id: int) -> Iterator["SimpleQueue[int]"]:
    """The statuses of responses to this message, as they come."""
    statuses: SimpleQueue[int] = SimpleQueue()

    def on_message(event: evt.Event) -> None:
        command = event.message.command_set
        is_ours = isinstance(event.message, N_EVENT_REPORT_RSP) and command.MessageIDBeingRespondedTo == message_id
        if is_ours and command.Status is not None:
            statuses.put(command.Status)

    assoc.bind(evt.EVT_DIMSE_RECV, on_message)
    try:
        yield statuses
    finally:
        assoc.unbind(evt.EVT_DIMSE_RECV, on_message)


def _request(report: EventReport, context: PresentationContext) -> N_EVENT_REPORT:
    syntax = context.transfer_syntax[0]
    encoded = encode(report.information, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if not encoded:
        raise InvalidOutput("the report cannot be encoded")
    request = N_EVENT_REPORT()
    request.MessageID = report.message_id
    request.AffectedSOPClassUID = report.sop_class_uid
    request.AffectedSOPInstanceUID = report.sop_instance_uid
    request.EventTypeID = report.event_type
    request.EventInformation = BytesIO(encoded)
    return request
