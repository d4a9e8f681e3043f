"""The only code that changes a state. Each change is a compare-and-swap with its line in the timeline."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import ColumnElement, Connection, CursorResult, Executable, bindparam, insert, update
from sqlmodel import Session, select

from dicom_node.database import Sessions
from dicom_node.errors import IllegalMove
from dicom_node.models import Commitment, Delivery, Job, Pull, Study, Transition
from dicom_node.prepared import Prepared
from dicom_node.states import (
    COMMITMENT_MOVES,
    DELIVERY_MOVES,
    JOB_MOVES,
    PULL_MOVES,
    STUDY_MOVES,
    CommitmentState,
    DeliveryState,
    JobState,
    PullState,
    State,
    StudyState,
)

Row = Study | Job | Delivery | Commitment | Pull
Leased = TypeVar("Leased", Job, Delivery, Commitment, Pull)
LeasedKind = type[Job] | type[Delivery] | type[Commitment] | type[Pull]

_TABLES: Mapping[type[Row], tuple[Mapping[State, frozenset[State]], type[State]]] = {
    Study: (STUDY_MOVES, StudyState),
    Job: (JOB_MOVES, JobState),
    Delivery: (DELIVERY_MOVES, DeliveryState),
    Commitment: (COMMITMENT_MOVES, CommitmentState),
    Pull: (PULL_MOVES, PullState),
}
WAITING: Mapping[LeasedKind, State] = {
    Job: JobState.QUEUED,
    Delivery: DeliveryState.PENDING,
    Commitment: CommitmentState.PENDING,
    Pull: PullState.PENDING,
}
WORKING: Mapping[LeasedKind, State] = {
    Job: JobState.INFERRING,
    Delivery: DeliveryState.SENDING,
    Commitment: CommitmentState.SENDING,
    Pull: PullState.PULLING,
}
_FAILED: Mapping[LeasedKind, State] = {
    Job: JobState.FAILED,
    Delivery: DeliveryState.FAILED,
    Commitment: CommitmentState.FAILED,
    Pull: PullState.FAILED,
}
_ADD_LINE = Prepared(lambda _: insert(Transition))


def begin(session: Session, row: Row, now: datetime, reason: str) -> None:
    """Insert a row in its first state, with the first line of its timeline."""
    session.add(row)
    session.flush()
    _note(session, row, old="", now=now, reason=reason)


def note_begin(
    connection: Connection, kind: type[Row], *, row_id: int, state: State, now: datetime, reason: str
) -> None:
    """Write the first line of the timeline of a row that was inserted without a session: a session takes long."""
    line = {
        "row_kind": kind.__tablename__,
        "row_id": row_id,
        "old": "",
        "new": state.value,
        "at": now,
        "reason": reason,
    }
    _ADD_LINE.run(connection, line)


def note(session: Session, row: Row, now: datetime, reason: str) -> None:
    """Write a line into the timeline of a row that stays in its state."""
    _note(session, row, old=row.state, now=now, reason=reason)


def advance(session: Session, row: Row, new: State, *, now: datetime, reason: str = "", **changes: Any) -> bool:
    """Move the row to a new state if the table allows it and nobody else was first.

    `changes` are columns that change with the state. Returns False, and changes nothing, when the row is no longer as
    it was read: another state, or the same state under a later lease. Raises IllegalMove when the table has no such
    move.
    """
    kind = type(row)
    moves, states = _TABLES[kind]
    old = states(row.state)
    if new not in moves[old]:
        raise IllegalMove(f"{kind.__tablename__} {row.id}: {old} -> {new} is not in the table")
    if not isinstance(row, Study):
        changes = {"reason": reason, "lease_until": None, **changes}
    if isinstance(row, Job | Delivery):
        changes |= {"seen_at": None}  # whoever has seen a failure has not seen the next
    if new == DeliveryState.DELIVERED and isinstance(row, Delivery):
        changes |= {"delivered_at": now}
    statement = update(kind).where(*_unchanged(row)).values(state=new, **changes)
    # Or SQLAlchemy changes the object in memory, also where no row was changed.
    statement = statement.execution_options(synchronize_session=False)
    if cast(CursorResult[Any], session.execute(statement)).rowcount == 0:
        return False
    session.refresh(row)
    _note(session, row, old=old, now=now, reason=reason)
    return True


def is_any_due(sessions: Sessions, kind: LeasedKind, now: datetime) -> bool:
    """Whether it is worth while to claim: asked over and over, this costs little and holds up no writer."""
    with sessions() as session:
        return session.connection().execute(_any_due(kind), {"now": now}).first() is not None


@cache
def _any_due(kind: LeasedKind) -> Executable:
    return select(kind.id).where(kind.state == WAITING[kind], kind.due_at <= bindparam("now")).limit(1)


def claim(
    session: Session,
    kind: type[Leased],
    *conditions: ColumnElement[bool],
    now: datetime,
    lease_s: float,
    skip_locked: bool = True,
) -> Leased | None:
    """Take the most urgent, then oldest, due row; count the attempt before the work starts.

    The lease must outlast the hard limit of the work, so that an expired lease proves a dead owner.
    skip_locked: pass over a row that another transaction holds, instead of waiting for its end.
    """
    due = (
        select(kind)
        .where(kind.state == WAITING[kind], kind.due_at <= now, *conditions)
        .order_by(kind.priority, kind.due_at, kind.id)  # type: ignore[arg-type]  # SQLModel types columns as values
        .limit(1)
        .with_for_update(skip_locked=skip_locked)
    )
    row = session.exec(due).first()
    if row is None:
        return None
    leased = {"attempts": row.attempts + 1, "lease_until": now + timedelta(seconds=lease_s)}
    return (
        row if advance(session, row, WORKING[kind], now=now, reason=f"attempt {row.attempts + 1}", **leased) else None
    )


def put_back(session: Session, row: Leased, *, now: datetime, due_at: datetime, max_attempts: int, reason: str) -> bool:
    """Give up a claimed row: due again later, or FAILED when its attempts are used up."""
    kind, reason = type(row), reason.removesuffix(".")
    if row.attempts >= max_attempts:
        words = f"{reason}; gave up after {row.attempts} attempts"
        return advance(session, row, _FAILED[kind], now=now, reason=words)
    words = f"{reason}; attempt {row.attempts} of {max_attempts}, again at {due_at:%Y-%m-%d %H:%M:%S} UTC"
    return advance(session, row, WAITING[kind], now=now, reason=words, due_at=due_at)


def is_any_orphaned(sessions: Sessions, kind: LeasedKind, leased_before: datetime) -> bool:
    """Whether there is anything to put back. Costs as little as `is_any_due`."""
    with sessions() as session:
        return session.connection().execute(_any_orphaned(kind), {"before": leased_before}).first() is not None


@cache
def _any_orphaned(kind: LeasedKind) -> Executable:
    return select(kind.id).where(kind.state == WORKING[kind], kind.lease_until < bindparam("before")).limit(1)


def return_orphans(
    session: Session, kind: type[Leased], *, now: datetime, leased_before: datetime, max_attempts: int
) -> list[Leased]:
    """Put back every claimed row whose lease ends before `leased_before`: its owner is dead. Returns the rows."""
    orphaned = select(kind).where(kind.state == WORKING[kind], kind.lease_until < leased_before)  # type: ignore[operator]
    rows = session.exec(orphaned.with_for_update(skip_locked=True)).all()
    words = "the process that worked on it died"
    return [r for r in rows if put_back(session, r, now=now, due_at=now, max_attempts=max_attempts, reason=words)]


def _unchanged(row: Row) -> tuple[ColumnElement[bool], ...]:
    """The row is still as it was read. Attempts tell one lease from the next."""
    kind = type(row)
    same = (kind.id == row.id, kind.state == row.state)
    if isinstance(row, Study):
        return cast(tuple[ColumnElement[bool], ...], same)
    return cast(tuple[ColumnElement[bool], ...], (*same, type(row).attempts == row.attempts))


def _note(session: Session, row: Row, *, old: str, now: datetime, reason: str) -> None:
    kind = type(row).__tablename__
    session.add(Transition(row_kind=kind, row_id=cast(int, row.id), old=old, new=row.state, at=now, reason=reason))
