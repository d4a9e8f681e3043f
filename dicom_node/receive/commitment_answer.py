"""What a PACS answers when we have asked it to commit our results (PS3.4 J.3.3), on whichever association it comes.

The SCU asks and may get the answer on its own association; else the PACS opens one to our port. Both end here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.events import Event
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.deliveries import study_of
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery
from dicom_node.pydicom_faults import silence_pydicom
from dicom_node.receive.commitment import INVALID_ARGUMENT_VALUE, WELL_KNOWN_INSTANCE, read_references, read_uid
from dicom_node.receive.commitment_result import FAILURES_EXIST, REQUEST_SUCCESSFUL
from dicom_node.receive.normalized import (
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
    Refused,
    refusal,
)
from dicom_node.settlement import send_later, settle_job
from dicom_node.states import DeliveryState

NO_SUCH_EVENT_TYPE = 0x0113  # PS3.7 10.1.1.1.8

# Of each its name, and when an N-EVENT-REPORT is answered with it.
STATUSES: Mapping[int, tuple[str, str]] = {
    SUCCESS: ("Success", "what it says is committed to the database, or changes nothing any more"),
    PROCESSING_FAILURE: ("Processing failure", "it cannot be read"),
    NO_SUCH_SOP_INSTANCE: ("No such SOP instance", f"not the well-known instance {WELL_KNOWN_INSTANCE}"),
    NO_SUCH_EVENT_TYPE: ("No such event type", f"Event Type other than {REQUEST_SUCCESSFUL} and {FAILURES_EXIST}"),
    INVALID_ARGUMENT_VALUE: (
        "Invalid argument value",
        "Transaction UID absent, or not one that this AE title was asked under",
    ),
    RESOURCE_LIMITATION: ("Resource limitation", "the database cannot take it"),
}

_log = logs.get("commitment_answer")


@dataclass(frozen=True)
class _Answer:
    """The Event Information (PS3.4 table J.3-2)."""

    transaction_uid: str
    committed: frozenset[str]  # SOP Instance UIDs
    failures: dict[str, int]  # SOP Instance UID → Failure Reason (0008,1197)


def make_answer_handler(sessions: Sessions, settings: Settings, clock: Clock) -> Callable[[Event], tuple[int, None]]:
    """The handler of EVT_N_EVENT_REPORT. At SUCCESS the new state of the delivery is committed."""
    silence_pydicom()

    def on_n_event_report(event: Event) -> tuple[int, None]:
        peer = event.assoc.acceptor if event.assoc.is_requestor else event.assoc.requestor
        ae_title = peer.ae_title.strip()
        failure = refusal(lambda: take(event, ae_title))
        if failure is None:
            return SUCCESS, None
        status, words = f"{failure.status:04X}", str(failure)
        _log.warning("commitment_answer_refused", calling_ae=ae_title, status=status, reason=words, trace=failure.trace)
        return failure.status, None

    def take(event: Event, ae_title: str) -> None:
        answer = _read(event)
        with sessions.begin() as session:
            delivery = _find(session, settings, answer, ae_title)
            _work_in(session, settings, delivery, answer, clock())
            study_id = study_of(session, delivery)
        _log.info("commitment_answered", study=study_id, delivery=delivery.id, state=delivery.state)

    return on_n_event_report


def _read(event: Event) -> _Answer:
    report = cast(N_EVENT_REPORT, event.request)
    if report.AffectedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        raise Refused(NO_SUCH_SOP_INSTANCE, "not the well-known instance of storage commitment")
    if report.EventTypeID not in (REQUEST_SUCCESSFUL, FAILURES_EXIST):
        raise Refused(NO_SUCH_EVENT_TYPE, f"event type {report.EventTypeID}, expected 1 or 2")
    ds = event.event_information
    committed = read_references(ds, "ReferencedSOPSequence")
    failed = zip(read_references(ds, "FailedSOPSequence"), _failure_reasons(ds), strict=True)
    return _Answer(
        transaction_uid=read_uid(ds, "TransactionUID"),
        committed=frozenset(each.sop_instance_uid for each in committed),
        failures={each.sop_instance_uid: reason for each, reason in failed},
    )


def _failure_reasons(ds: Dataset) -> list[int]:
    return [int(item.get("FailureReason") or PROCESSING_FAILURE) for item in ds.get("FailedSOPSequence") or ()]


def _find(session: Session, settings: Settings, answer: _Answer, ae_title: str) -> Delivery:
    """The delivery that was asked for under this Transaction UID, at this very PACS. Raises Refused."""
    names = [each.name for each in settings.pacs if each.ae_title == ae_title]
    asked = (Delivery.transaction_uid == answer.transaction_uid, col(Delivery.destination).in_(names))
    found = session.exec(select(Delivery).where(*asked).with_for_update()).first()
    if found is None:
        raise Refused(INVALID_ARGUMENT_VALUE, "no such transaction with this peer")
    return found


def _work_in(session: Session, settings: Settings, delivery: Delivery, answer: _Answer, now: datetime) -> None:
    """The first answer counts: what is committed, or is to be sent again already, stays as it is."""
    if delivery.state != DeliveryState.DELIVERED:
        return
    failure = answer.failures.get(delivery.identifier)
    if failure is None and delivery.identifier in answer.committed:
        advance(session, delivery, DeliveryState.COMMITTED, now=now, reason="the PACS took over the responsibility")
        settle_job(session, delivery, now)
        return
    why = "does not say of it" if failure is None else f"failure reason {failure:04X}"
    if send_later(session, settings, delivery, now, f"not committed: {why}"):
        settle_job(session, delivery, now)
