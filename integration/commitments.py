"""Storage commitment of what was delivered: asked for, waited for, and sent again where it does not come.

A delivery that wants it stays DELIVERED meanwhile. Without a Transaction UID it is due to be asked for; with one it
waits until `due_at`. So whatever dies at whatever moment, the row says what is next.
"""

from datetime import timedelta
from functools import partial

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.database import AWAY
from dicom_node.deliveries import study_of
from dicom_node.errors import NodeError, Transient
from dicom_node.lifecycle import advance, note
from dicom_node.models import Delivery
from dicom_node.receive.commitment import Reference
from dicom_node.rounds import persist
from dicom_node.settlement import send_later, settle_job
from dicom_node.states import DeliveryState
from dicom_node.uids import derive_uid
from integration.commitment_scu import CommitmentScu
from integration.history import read_sent
from integration.teller import Teller

_log = logs.get("commitments")


def commit_due(teller: Teller, scu: CommitmentScu) -> bool:
    """Ask for what is due at this PACS, or send again what it has not committed in time. False: nothing is due."""
    return _give_up_waiting(teller, scu) or _ask(teller, scu)


def forgo(teller: Teller, asking: tuple[str, ...]) -> bool:
    """Let a delivery be delivered that wants commitment of a PACS which by the settings is not asked any more."""
    with teller.sessions.begin() as session:
        delivery = _first(session, col(Delivery.destination).not_in(asking))
        if delivery is None:
            return False
        delivery.wants_commitment = False
        session.add(delivery)
        session.flush()
        note(session, delivery, teller.clock(), "by the settings no commitment is asked for any more")
        settle_job(session, delivery, teller.clock())
    return True


def _give_up_waiting(teller: Teller, scu: CommitmentScu) -> bool:
    now, to = teller.clock(), scu.destination
    with teller.sessions.begin() as session:
        is_late = (col(Delivery.transaction_uid) != "", col(Delivery.due_at) <= now)
        delivery = _first(session, col(Delivery.destination) == to.name, *is_late)
        if delivery is None:
            return False
        _send_later(
            session, teller, delivery, f"{to.ae_title} has not committed it within {to.commitment_timeout_s:g} s"
        )
    return True


def _ask(teller: Teller, scu: CommitmentScu) -> bool:
    delivery, study_id = _begin(teller, scu)
    if delivery is None:
        return False
    log = _log.bind(study=study_id, delivery=delivery.id, destination=delivery.destination)
    try:
        sent = read_sent(delivery)
        scu.ask(Reference(sent.sop_class_uid, sent.sop_instance_uid), delivery.transaction_uid)
        log.info("commitment_requested")
        return True
    except (Transient, OSError, *AWAY) as error:
        words = str(error) if isinstance(error, Transient) else "the database or the disk was away"
        settle = partial(_send_later_if_unanswered, teller, delivery, words)
    except NodeError as error:
        settle = partial(_fail, teller, delivery, str(error))
        words = str(error)
    log.warning("commitment_not_requested", reason=words)
    persist(teller.stop, settle)
    return True


def _begin(teller: Teller, scu: CommitmentScu) -> tuple[Delivery | None, int]:
    """The delivery and its study's id. The Transaction UID is durable before the PACS sees it: nobody asks twice."""
    now, to = teller.clock(), scu.destination
    with teller.sessions.begin() as session:
        is_due = (col(Delivery.transaction_uid) == "", col(Delivery.due_at) <= now)
        delivery = _first(session, col(Delivery.destination) == to.name, *is_due)
        if delivery is None:
            return None, 0
        delivery.transaction_uid = derive_uid("commitment", delivery.identifier, to.name, now.isoformat())
        delivery.due_at = now + timedelta(seconds=to.commitment_timeout_s)
        session.add(delivery)
        session.flush()
        note(session, delivery, now, f"{to.ae_title} is asked to commit it")
        return delivery, study_of(session, delivery)


def _first(session: Session, *conditions: ColumnElement[bool]) -> Delivery | None:
    """One of those that wait for commitment, locked."""
    waiting = select(Delivery).where(
        Delivery.state == DeliveryState.DELIVERED, col(Delivery.wants_commitment).is_(True), *conditions
    )
    return session.exec(waiting.order_by(col(Delivery.due_at)).limit(1).with_for_update(skip_locked=True)).first()


def _send_later_if_unanswered(teller: Teller, delivery: Delivery, words: str) -> None:
    """The answer may have come all the same, and then the state is another one."""
    with teller.sessions.begin() as session:
        _send_later(session, teller, session.merge(delivery, load=False), words)


def _send_later(session: Session, teller: Teller, delivery: Delivery, words: str) -> None:
    if send_later(session, teller.settings, delivery, teller.clock(), words):
        settle_job(session, delivery, teller.clock())


def _fail(teller: Teller, delivery: Delivery, words: str) -> None:
    now = teller.clock()
    with teller.sessions.begin() as session:
        delivery = session.merge(delivery, load=False)
        if advance(session, delivery, DeliveryState.FAILED, now=now, reason=words, has_gone_out=True):
            settle_job(session, delivery, now)
