"""Tells who asked for storage commitment what is really on the disk (PS3.4 J.3.3).

On the association of the request while that is open, else on a new one. Requests are taken from their rows, so that a
result survives whatever becomes of association and process.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.association import Association
from pynetdicom.status import code_to_category
from sqlmodel import col, select

from dicom_node import logs
from dicom_node.backoff import next_due
from dicom_node.config import Settings
from dicom_node.database import AWAY
from dicom_node.errors import NodeError, PeerBusy, PeerRejected, PeerUnreachable, Permanent, Transient
from dicom_node.lifecycle import advance, claim, is_any_due, put_back
from dicom_node.models import Commitment
from dicom_node.peers import PeerAddress
from dicom_node.receive.commitment import (
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    references_from_json,
)
from dicom_node.receive.commitment_result import CommitmentResult, examine, failures_to_json
from dicom_node.receive.event_report import EventReport, context_for, falls_silent, send_event_report
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import Listener, requestor_of
from dicom_node.receive.normalized import BUSY
from dicom_node.requestor import Requestor, opened
from dicom_node.rounds import persist
from dicom_node.states import CommitmentState

LANES = 4  # requests served at once
_LEASE_S = 6 * 3_600.0  # the largest request reads terabytes; an scp that starts alone does not wait for it
_CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 10.0, 30.0
_MESSAGE_IDS = 65_536  # PS3.7 E.1: VR US

_log = logs.get("commitment")


@dataclass(frozen=True)
class Reporter:
    """What telling needs."""

    settings: Settings
    receiver: Receiver
    server: Listener
    stop: threading.Event = field(default_factory=threading.Event)  # set: put back what is under way
    claiming: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class _End:
    """How an attempt ended; pending: it is tried again later."""

    state: CommitmentState
    reason: str
    failures: str = "[]"


def lanes(reporter: Reporter) -> dict[str, Callable[[], bool]]:
    """The rounds of the scp. Each serves another calling AE title, so a large request or a hanging peer waits alone."""
    return {f"commitment-{lane}": partial(report_due, reporter) for lane in range(LANES)}


def report_due(reporter: Reporter) -> bool:
    """Look at the objects of the due request that waits longest, and tell. False: none was due.

    A catcher: whatever happens ends in a state of the row.
    """
    commitment = _claim(reporter)
    if commitment is None:
        return False
    log = _log.bind(commitment=commitment.id, calling_ae=commitment.calling_ae, attempt=commitment.attempts)
    try:
        result = _tell(reporter, commitment)
        end = _End(CommitmentState.DELIVERED, result.words, failures_to_json(result.failed))
        log.info("commitment_told", reason=end.reason, count=len(result.failed))
    except Transient as error:
        end = _End(CommitmentState.PENDING, str(error))
    except (OSError, *AWAY) as error:
        end = _End(CommitmentState.PENDING, f"the database or the disk was away ({type(error).__name__})")
    except NodeError as error:
        end = _End(CommitmentState.FAILED, str(error))
    except Exception as error:  # noqa: BLE001  unknown: a person must look
        log.error("commitment_impossible", trace=logs.places(error))
        end = _End(CommitmentState.FAILED, f"unexpected {type(error).__name__}: see the log")
    if end.state != CommitmentState.DELIVERED:
        log.warning("commitment_not_told", state=end.state, reason=end.reason)
    persist(reporter.stop, partial(_settle, reporter, commitment, end))
    return True


def _claim(reporter: Reporter) -> Commitment | None:
    if not is_any_due(reporter.receiver.sessions, Commitment, reporter.receiver.clock()):
        return None
    served = select(Commitment.calling_ae).where(Commitment.state == CommitmentState.SENDING)
    of_others = col(Commitment.calling_ae).not_in(served)
    # The process that has its association can tell on that.
    ours_to_tell = col(Commitment.requestor).not_in(reporter.server.elsewhere())
    # One after the other, in this process: on PostgreSQL, claims at the same time do not see each other.
    with reporter.claiming, reporter.receiver.sessions.begin() as session:
        commitment = claim(
            session, Commitment, of_others, ours_to_tell, now=reporter.receiver.clock(), lease_s=_LEASE_S
        )
        if commitment is not None and commitment.requestor in reporter.server.elsewhere():  # who came meanwhile
            session.rollback()
            return None
        return commitment


def _settle(reporter: Reporter, commitment: Commitment, end: _End) -> None:
    now, settings = reporter.receiver.clock(), reporter.settings
    with reporter.receiver.sessions.begin() as session:
        commitment = session.merge(commitment, load=False)  # not add: a rollback would expire the claimed row
        if end.state != CommitmentState.PENDING:
            advance(session, commitment, end.state, now=now, reason=end.reason, failures=end.failures)
            return
        due_at = next_due(
            commitment.attempts, now, first_s=settings.retry_after_s, longest_s=settings.max_retry_after_s
        )
        limit = settings.max_delivery_attempts
        put_back(session, commitment, now=now, due_at=due_at, max_attempts=limit, reason=end.reason)


def _tell(reporter: Reporter, commitment: Commitment) -> CommitmentResult:
    """Raises Transient or Permanent if the peer did not take the result."""
    result = examine(reporter.receiver, references_from_json(commitment.requested), reporter.stop)
    report = EventReport(
        STORAGE_COMMITMENT,
        WELL_KNOWN_INSTANCE,
        message_id=(commitment.id or 0) % _MESSAGE_IDS,
        event_type=result.event_type,
        information=result.event_information(commitment.transaction_uid),
    )
    _judge(_send(reporter, commitment, report))
    return result


def _send(reporter: Reporter, commitment: Commitment, report: EventReport) -> int:
    """The status that the peer answers. Raises PeerUnreachable, PeerRejected, or Permanent if there is no way to it."""
    assoc = _association_of(reporter, commitment)
    if assoc is not None and falls_silent(assoc, reporter.stop):
        with suppress(PeerUnreachable):  # many a peer expects results on another association
            return send_event_report(assoc, report, reporter.stop, timeout_s=ANSWER_TIMEOUT_S)
    address = reporter.settings.peer(commitment.calling_ae).listens_at
    if address is not None:
        return _send_anew(reporter, commitment.calling_ae, address, report)
    if assoc is not None and assoc.is_established:
        raise PeerUnreachable("no answer on the association of the request, and no other address in the settings")
    raise Permanent("the association of the request has ended, and the settings name no address: peers.….listens_at")


def _association_of(reporter: Reporter, commitment: Commitment) -> Association | None:
    """The association of the request, if it is open."""
    for assoc in reporter.server.active_associations:
        is_its_own = assoc.is_established and requestor_of(assoc) == commitment.requestor
        if is_its_own and context_for(assoc, STORAGE_COMMITMENT):
            return assoc
    return None


def _send_anew(reporter: Reporter, called_ae: str, address: PeerAddress, report: EventReport) -> int:
    ae = Requestor(reporter.settings.ae_title, timeout_s=ANSWER_TIMEOUT_S)
    ae.connection_timeout = _CONNECT_TIMEOUT_S
    with opened(
        ae,
        address,
        called_ae,
        contexts=[build_context(STORAGE_COMMITMENT, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])],
        refusal="accepts no storage commitment on an association of ours",
        ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],  # PS3.4 J.3.3.1.3: we are the SCP, and ask
    ) as assoc:
        return send_event_report(assoc, report, reporter.stop, timeout_s=ANSWER_TIMEOUT_S)


def _judge(status: int) -> None:
    """Raises PeerBusy or PeerRejected where the peer did not take the report."""
    if code_to_category(status) in ("Success", "Warning"):
        return
    if status in BUSY:
        raise PeerBusy(f"status {status:04X} to the result")
    raise PeerRejected(f"status {status:04X} to the result")
