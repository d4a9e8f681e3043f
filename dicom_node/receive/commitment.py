"""Storage Commitment Push Model SCP (PS3.4 J.3): a request is on the disk before it is answered.

What is really there of the objects is found out later, and told by `commitment_report`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.events import Event
from sqlmodel import Session, select

from dicom_node import logs
from dicom_node.lifecycle import advance, begin
from dicom_node.models import Commitment
from dicom_node.pydicom_faults import silence_pydicom
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import requestor_of
from dicom_node.receive.normalized import (
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
    Refused,
    refusal,
)
from dicom_node.states import CommitmentState
from dicom_node.uids import is_uid

# PS3.4 J.3.1, J.3.5 and table J.3-1
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_STORAGE_COMMITMENT = 1

# PS3.7 10.1.4.1.10: of these there are none for attributes that are missing
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_ACTION = 0x0123

# Of each its name, and when an N-ACTION is answered with it.
STATUSES: Mapping[int, tuple[str, str]] = {
    SUCCESS: (
        "Success",
        "the request's row is committed; also for the same Transaction UID and objects again: its result is told "
        "once more",
    ),
    PROCESSING_FAILURE: ("Processing failure", "the Action Information cannot be parsed"),
    NO_SUCH_SOP_INSTANCE: ("No such SOP instance", f"not the well-known instance {WELL_KNOWN_INSTANCE}"),
    INVALID_ARGUMENT_VALUE: (
        "Invalid argument value",
        "no Transaction UID, no objects, an object without class or instance, or the Transaction UID is in use for "
        "other objects",
    ),
    NO_SUCH_ACTION: ("No such action", "another Action Type"),
    RESOURCE_LIMITATION: ("Resource limitation", "the database cannot take it: ask again"),
}

_ENDED = (CommitmentState.DELIVERED, CommitmentState.FAILED)

_log = logs.get("commitment")


@dataclass(frozen=True)
class Reference:
    """An object by its identifiers (PS3.3 table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class CommitmentRequest:
    """The Action Information of a request (PS3.4 table J.3-1)."""

    transaction_uid: str
    references: tuple[Reference, ...]


def make_commitment_handler(receiver: Receiver) -> Callable[[Event], tuple[int, None]]:
    """The handler of EVT_N_ACTION. At SUCCESS the request's row is committed."""
    silence_pydicom()

    def on_n_action(event: Event) -> tuple[int, None]:
        calling_ae = event.assoc.requestor.ae_title.strip()
        failure = refusal(lambda: _take(receiver, event, calling_ae))
        if failure is None:
            return SUCCESS, None
        status, words = f"{failure.status:04X}", str(failure)
        _log.warning("commitment_refused", calling_ae=calling_ae, status=status, reason=words, trace=failure.trace)
        return failure.status, None

    return on_n_action


def references_to_json(references: Iterable[Reference]) -> str:
    return json.dumps([[each.sop_class_uid, each.sop_instance_uid] for each in references], separators=(",", ":"))


def references_from_json(text: str) -> tuple[Reference, ...]:
    return tuple(Reference(*pair) for pair in json.loads(text))


def _take(receiver: Receiver, event: Event, calling_ae: str) -> None:
    request, requestor = _read_request(event), requestor_of(event.assoc)
    with receiver.sessions.begin() as session:
        commitment = _remember(session, request, calling_ae, requestor, receiver.clock())
    _log.info("commitment_asked", commitment=commitment.id, calling_ae=calling_ae, count=len(request.references))


def _read_request(event: Event) -> CommitmentRequest:
    action = cast(N_ACTION, event.request)
    if action.RequestedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        raise Refused(NO_SUCH_SOP_INSTANCE, "not the well-known instance of storage commitment")
    if action.ActionTypeID != REQUEST_STORAGE_COMMITMENT:
        raise Refused(NO_SUCH_ACTION, f"action type {action.ActionTypeID}, expected {REQUEST_STORAGE_COMMITMENT}")
    ds = event.action_information
    references = read_references(ds, "ReferencedSOPSequence")
    if not references:
        raise Refused(INVALID_ARGUMENT_VALUE, "ReferencedSOPSequence is missing or empty")
    return CommitmentRequest(read_uid(ds, "TransactionUID"), references)


def read_references(ds: Dataset, keyword: str) -> tuple[Reference, ...]:
    """The items of a sequence of objects; none where it is absent. Raises Refused."""
    return tuple(
        Reference(read_uid(item, "ReferencedSOPClassUID"), read_uid(item, "ReferencedSOPInstanceUID"))
        for item in ds.get(keyword) or ()
    )


def read_uid(ds: Dataset, keyword: str) -> str:
    """The bytes as received: pydicom's conversion takes longer, and logs a line for each UID that it finds invalid.

    Raises Refused.
    """
    value = ds.get_item(keyword).value if keyword in ds else b""
    text = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""
    if not is_uid(text):
        raise Refused(INVALID_ARGUMENT_VALUE, f"{keyword} is missing or not a UID")
    return text


def _remember(
    session: Session, request: CommitmentRequest, calling_ae: str, requestor: str, now: datetime
) -> Commitment:
    """The row of the request. The same request again is the same row, and its result is told once more."""
    requested = references_to_json(request.references)
    asked = (Commitment.calling_ae == calling_ae, Commitment.transaction_uid == request.transaction_uid)
    known = session.exec(select(Commitment).where(*asked).with_for_update()).first()
    if known is None:
        made = Commitment(
            transaction_uid=request.transaction_uid, calling_ae=calling_ae, requestor=requestor,
            requested=requested, due_at=now, created_at=now,
        )  # fmt: skip
        begin(session, made, now, reason=f"{calling_ae} asks for {len(request.references)} objects")
        return made
    if known.requested != requested:
        raise Refused(INVALID_ARGUMENT_VALUE, "TransactionUID is in use for other objects")
    known.requestor, known.due_at = requestor, now
    if known.state in _ENDED:
        advance(session, known, CommitmentState.PENDING, now=now, reason=f"{calling_ae} asks again", attempts=0)
    return known
