"""What was due at a time that only a clock that was ahead has told: it would wait until that time has come."""

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, update
from sqlmodel import Session, and_, col, or_, select

from dicom_node import logs
from dicom_node.clock import CLOCKS_DIFFER
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import WAITING, WORKING, Leased, LeasedKind, note
from dicom_node.models import Delivery, Job
from dicom_node.states import DeliveryState

_A_DAY = timedelta(days=1)

_log = logs.get("misdated")


def recall(sessions: Sessions, settings: Settings, now: datetime, kind: LeasedKind) -> None:
    """Make it due now. Nothing is lost where it is this clock that is wrong: it would have been done at once anyway."""
    _recall_all(sessions, now, kind, _misdated(settings, now, kind))
    if kind is Delivery and settings.committing:
        _recall_all(sessions, now, kind, _misdated_commitment(settings, now))


def shorten_leases(sessions: Sessions, settings: Settings, now: datetime, kind: LeasedKind) -> None:
    """Have a lease end within a day or so: who holds it may be dead, and others of its kind alive.

    Not at once: whoever works on the row may have that clock.
    """
    longest = now + _A_DAY + timedelta(seconds=settings.longest_drafting_s)
    too_long = (col(kind.state) == WORKING[kind], col(kind.lease_until) > longest)
    with sessions() as session:
        if session.exec(select(kind.id).where(*too_long).limit(1)).first() is None:
            return
    with sessions.begin() as session:
        done = session.execute(update(kind).where(*too_long).values(lease_until=longest))
    _log.warning(
        "misdated_leases_shortened", kind=str(kind.__tablename__), count=cast(CursorResult[Any], done).rowcount
    )


def _recall_all(sessions: Sessions, now: datetime, kind: LeasedKind, misdated: tuple[ColumnElement[bool], ...]) -> None:
    with sessions() as session:
        if session.exec(select(kind.id).where(*misdated).limit(1)).first() is None:
            return
    with sessions.begin() as session:
        # A union of types is not a type variable: the function works for each.
        count = _recall(session, kind, now, misdated)  # type: ignore[type-var]
    _log.warning("misdated_made_due", kind=str(kind.__tablename__), count=count)


def _misdated(settings: Settings, now: datetime, kind: LeasedKind) -> tuple[ColumnElement[bool], ...]:
    """What was not tried yet is due when it is made. What was tried waits: a clock that is behind does not hurry it."""
    due_at, longest = col(kind.due_at), timedelta(seconds=settings.max_retry_after_s) + _A_DAY
    untried = and_(due_at > now + CLOCKS_DIFFER, col(kind.attempts) == 0)
    return col(kind.state) == WAITING[kind], or_(untried, due_at > now + longest)


def _misdated_commitment(settings: Settings, now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Of what is to be committed: asking for that is due when it is delivered; then the answer is waited for."""
    due_at, longest = col(Delivery.due_at), timedelta(seconds=max(each.commitment_timeout_s for each in settings.pacs))
    unasked = and_(due_at > now + CLOCKS_DIFFER, col(Delivery.transaction_uid) == "")
    is_waiting = (col(Delivery.wants_commitment).is_(True), col(Delivery.state) == DeliveryState.DELIVERED)
    return *is_waiting, or_(unasked, due_at > now + longest + _A_DAY)


def _recall(session: Session, kind: type[Leased], now: datetime, misdated: tuple[ColumnElement[bool], ...]) -> int:
    rows = session.exec(select(kind).where(*misdated).with_for_update(skip_locked=True)).all()
    for row in rows:
        words = f"it was due at {row.due_at:%Y-%m-%d %H:%M:%S} UTC, by a clock that was wrong: it is due now"
        row.due_at = now
        if isinstance(row, Job):
            row.rung_at = None
        session.add(row)
        note(session, row, now, words)
    return len(rows)
