"""The relay: sends what is due, judges the answer, tells the job. Encoded once, resent as the same bytes."""

import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, false, not_, or_, update
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import AWAY, Sessions, open_current
from dicom_node.deliveries import none_on_its_way, study_of
from dicom_node.errors import CaseClosed, NodeError, NothingToTell, Transient
from dicom_node.heartbeat import Pulse, beating
from dicom_node.image_folder import open_store
from dicom_node.lifecycle import advance, claim, is_any_due
from dicom_node.models import Delivery, Report
from dicom_node.notify.telling import telling
from dicom_node.orphans import take_over
from dicom_node.receive.commitment_answer import make_answer_handler
from dicom_node.rounds import persist, together
from dicom_node.settlement import send_later, settle_job
from dicom_node.states import MESSAGES, DeliveryState
from integration.build import build_destinations
from integration.collectors import collector_works
from integration.commitment_scu import CommitmentScu
from integration.commitments import commit_due, forgo
from integration.destinations import NOT_SENT, Ack, Destination, Encoded, Outcome
from integration.document import load_document
from integration.last_look import require_wanted
from integration.teller import Teller

# Connect, associate, transfer, release: each may last one time-out.
_TIMEOUTS_PER_SEND = 4
_LEASE_MARGIN_S = 30.0
_SENDS_PER_ROUND = 2  # a RIS is sent drafts and cancellations in turn

_log = logs.get("relay")


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: a thread for each of `turns`, so that a hanging PACS does not keep the RIS waiting."""
    engine = open_current(settings)
    sessions = Sessions(engine)
    teller = Teller(sessions, open_store(settings, sessions), settings, utc_now, stop)
    lock = take_over(engine, teller.sessions, settings, utc_now(), Delivery)
    destinations = build_destinations(settings)
    works: dict[str, Callable[[], bool]] = _commitment_works(teller)
    works |= {f"relay-{name}": partial(_deliver_in_turn, teller, turn) for name, turn in turns(destinations).items()}
    works["relay-nowhere"] = partial(refuse_unknown, teller, destinations)
    works |= collector_works(teller)
    _log.info("relaying", count=len(destinations))
    pulse = Pulse()
    with beating("relay", teller.sessions, pulse), telling(settings, teller.sessions):
        longest_s = _longest_round_s(settings, destinations)
        together(settings.poll_interval_s, stop, works, partial(pulse.beat, longest_s=longest_s))
    lock.close()


def _longest_round_s(settings: Settings, destinations: Iterable[Destination]) -> float:
    slowest = max((destination.timeout_s for destination in destinations), default=0.0)
    return _SENDS_PER_ROUND * (slowest * _TIMEOUTS_PER_SEND + _LEASE_MARGIN_S) + settings.poll_interval_s


def _commitment_works(teller: Teller) -> dict[str, Callable[[], bool]]:
    """One thread per PACS: asking stays for its answer, and sending does not wait for it."""
    settings = teller.settings
    on_answer = make_answer_handler(teller.sessions, settings, teller.clock)
    asked = [CommitmentScu(each, settings.ae_title, on_answer) for each in settings.pacs if each.commitment]
    names = tuple(scu.destination.name for scu in asked)
    works = {f"commitment-{scu.destination.name}": partial(commit_due, teller, scu) for scu in asked}
    return {**works, "commitment-nowhere": partial(forgo, teller, names)}


def turns(destinations: Iterable[Destination]) -> dict[str, list[Destination]]:
    """What is sent one after the other: each kind of object of a PACS, and all messages of a RIS."""
    found: dict[str, list[Destination]] = {}
    for each in destinations:
        name = each.name if each.kind in MESSAGES else f"{each.name}-{each.kind}"
        found.setdefault(name, []).append(each)
    return found


def _deliver_in_turn(teller: Teller, turn: list[Destination]) -> bool:
    return any([deliver_due(teller, each) for each in turn])


def deliver_due(teller: Teller, destination: Destination) -> bool:
    """Send the most urgent due delivery of this destination. False: none was due.

    The third of the three catchers: whatever happens ends in a state of the delivery.
    """
    delivery, study_id = _claim(teller, none_on_its_way(), _is_for(destination), lease_s=_lease_s(destination))
    if delivery is None:
        return False
    log = _log.bind(study=study_id, delivery=delivery.id, destination=destination.name, attempt=delivery.attempts)
    try:
        ack = destination.send(_payload(teller, destination, delivery))
    except Transient as error:
        ack = Ack(Outcome.RETRY, "", str(error))
    except (OSError, *AWAY) as error:
        log.warning("delivery_put_back", trace=logs.places(error))
        ack = Ack(Outcome.RETRY, "", "the database or the instance folder was away")
    except (CaseClosed, NothingToTell) as error:
        ack = Ack(Outcome.CANCELLED, "", str(error))
    except NodeError as error:
        log.error("delivery_impossible", reason=str(error), trace=logs.places(error))
        ack = Ack(Outcome.REJECTED, "", str(error))
    except Exception as error:  # noqa: BLE001  unknown: a person must look
        log.error("delivery_impossible", trace=logs.places(error))
        ack = Ack(Outcome.REJECTED, "", f"unexpected {type(error).__name__}: see the log")
    log.info("delivery_judged", state=ack.outcome, code=ack.code, reason=ack.reason)
    persist(teller.stop, partial(_settle, teller, delivery, ack))
    return True


def refuse_unknown(teller: Teller, destinations: tuple[Destination, ...]) -> bool:
    """Fail the most urgent due delivery to a destination that the settings no longer name. False: there was none."""
    known = or_(false(), *(_is_for(each) for each in destinations))
    delivery, study_id = _claim(teller, not_(known), lease_s=_LEASE_MARGIN_S)
    if delivery is None:
        return False
    ack = Ack(Outcome.REJECTED, "", f"{delivery.destination} is not in the settings")
    told = {"study": study_id, "delivery": delivery.id, "destination": delivery.destination}
    _log.error("delivery_impossible", reason=ack.reason, **told)
    persist(teller.stop, partial(_settle, teller, delivery, ack))
    return True


def _lease_s(destination: Destination) -> float:
    return destination.timeout_s * _TIMEOUTS_PER_SEND + _LEASE_MARGIN_S


def _claim(teller: Teller, *conditions: ColumnElement[bool], lease_s: float) -> tuple[Delivery | None, int]:
    """The delivery, and the id of its study."""
    if not is_any_due(teller.sessions, Delivery, teller.clock()):
        return None, 0
    with teller.sessions.begin() as session:
        delivery = claim(session, Delivery, *conditions, now=teller.clock(), lease_s=lease_s)
        return delivery, study_of(session, delivery) if delivery else 0


def _is_for(destination: Destination) -> ColumnElement[bool]:
    return (col(Delivery.destination) == destination.name) & (col(Delivery.kind) == destination.kind)


def _payload(teller: Teller, destination: Destination, delivery: Delivery) -> bytes:
    """The bytes of this delivery: encoded at the first attempt, stored before they are sent, the same ever after."""
    with teller.sessions() as session:
        require_wanted(session, delivery)
        if delivery.payload is not None:
            return delivery.payload
        document = load_document(session, teller.store, teller.settings, delivery)
    return _store_payload(teller, delivery, destination.encode(document))


def _store_payload(teller: Teller, delivery: Delivery, encoded: Encoded) -> bytes:
    """Returns what stands. Raises Transient if another relay has the delivery by now: its bytes stand."""
    mine = (
        col(Delivery.id) == delivery.id,
        col(Delivery.state) == delivery.state,
        col(Delivery.attempts) == delivery.attempts,
    )
    with teller.sessions.begin() as session:
        payload = _payload_of_the_same(session, delivery, encoded) or encoded.payload
        require_wanted(session, delivery)  # once more: drawing a page takes seconds
        values = {"payload": payload, "identifier": encoded.identifier}
        stored = cast(CursorResult[Any], session.execute(update(Delivery).where(*mine).values(**values)))
    if stored.rowcount == 0:
        raise Transient("the lease was lost while the report was encoded")
    return payload


def _payload_of_the_same(session: Session, delivery: Delivery, encoded: Encoded) -> bytes | None:
    """The bytes of the same object that another PACS is sent; None if nobody is.

    An order, or a predecessor, may have come between: still one SOP Instance UID never names two contents.
    """
    session.get_one(Report, delivery.report_id, with_for_update=True)  # of two that look at once, one sees the other's
    others = select(Delivery.payload).where(Delivery.report_id == delivery.report_id, Delivery.id != delivery.id)
    same = (Delivery.identifier == encoded.identifier, col(Delivery.payload).is_not(None))
    return session.exec(others.where(*same)).first()


def _settle(teller: Teller, delivery: Delivery, ack: Ack) -> None:
    now = teller.clock()
    with teller.sessions.begin() as session:
        delivery = session.merge(delivery, load=False)  # not add: a rollback would expire the claimed row
        _move(session, teller.settings, delivery, ack, now)
        settle_job(session, delivery, now)


def _move(session: Session, settings: Settings, delivery: Delivery, ack: Ack, now: datetime) -> None:
    """Unless somebody else was first: then its state stands."""
    if ack.outcome is Outcome.DELIVERED:
        words = ack.reason or "acknowledged"
        # Where it is to be committed, asking for that is due, by a Transaction UID of its own.
        to_commit = {"due_at": now, "transaction_uid": ""}
        advance(session, delivery, DeliveryState.DELIVERED, now=now, reason=words, ack_code=ack.code, **to_commit)
    elif ack.outcome is Outcome.CANCELLED:
        advance(session, delivery, DeliveryState.CANCELLED, now=now, reason=ack.reason)
    elif ack.outcome is Outcome.REJECTED:
        advance(session, delivery, DeliveryState.FAILED, now=now, reason=ack.reason, ack_code=ack.code)
    else:
        # Nothing else proves it: a peer that is full may have kept it all the same.
        not_sent = ack.code if ack.code == NOT_SENT else ""
        send_later(session, settings, delivery, now, ack.reason, ack_code=not_sent)
