"""Every cell of the four tables, and what a move does beside changing the state."""

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import product

import pytest
from doubles import NOON
from rows import add_commitment, add_delivery, add_job, add_study, all_of, moves_of, only
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel
from waiting import in_threads

from dicom_node.database import Sessions
from dicom_node.errors import IllegalMove
from dicom_node.lifecycle import LeasedKind, Row, advance, claim, put_back
from dicom_node.models import Commitment, Delivery, Job, Transition
from dicom_node.states import DRAFTING_JOB_STATES, CommitmentState, DeliveryState, JobState, State, StudyState

ALLOWED = {
    (StudyState.RECEIVING, StudyState.COMPLETE),
    (StudyState.COMPLETE, StudyState.RECEIVING),
    (JobState.QUEUED, JobState.INFERRING),
    (JobState.QUEUED, JobState.SKIPPED),
    (JobState.INFERRING, JobState.REPORTED),
    (JobState.INFERRING, JobState.SKIPPED),
    (JobState.INFERRING, JobState.QUEUED),
    (JobState.INFERRING, JobState.FAILED),
    (JobState.REPORTED, JobState.DONE),
    (JobState.REPORTED, JobState.FAILED),
    (JobState.SKIPPED, JobState.QUEUED),
    (JobState.DONE, JobState.REPORTED),
    (JobState.FAILED, JobState.QUEUED),
    (JobState.FAILED, JobState.REPORTED),
    (DeliveryState.PENDING, DeliveryState.SENDING),
    (DeliveryState.PENDING, DeliveryState.CANCELLED),
    (DeliveryState.SENDING, DeliveryState.DELIVERED),
    (DeliveryState.SENDING, DeliveryState.PENDING),
    (DeliveryState.SENDING, DeliveryState.FAILED),
    (DeliveryState.SENDING, DeliveryState.CANCELLED),
    (DeliveryState.DELIVERED, DeliveryState.COMMITTED),
    (DeliveryState.DELIVERED, DeliveryState.PENDING),
    (DeliveryState.DELIVERED, DeliveryState.FAILED),
    (DeliveryState.COMMITTED, DeliveryState.PENDING),
    (DeliveryState.FAILED, DeliveryState.PENDING),
    (DeliveryState.FAILED, DeliveryState.CANCELLED),
    (CommitmentState.PENDING, CommitmentState.SENDING),
    (CommitmentState.SENDING, CommitmentState.DELIVERED),
    (CommitmentState.SENDING, CommitmentState.PENDING),
    (CommitmentState.SENDING, CommitmentState.FAILED),
    (CommitmentState.DELIVERED, CommitmentState.PENDING),
    (CommitmentState.FAILED, CommitmentState.PENDING),
}
MAKERS: dict[type[State], Callable[..., Row]] = {
    StudyState: add_study,
    JobState: add_job,
    DeliveryState: add_delivery,
    CommitmentState: add_commitment,
}
CELLS = [cell for states in MAKERS for cell in product(states, repeat=2)]
LEASED: list[tuple[LeasedKind, Callable[..., Row]]] = [
    (Job, add_job),
    (Delivery, add_delivery),
    (Commitment, add_commitment),
]


def names(cell: tuple[State, State]) -> str:
    return f"{type(cell[0]).__name__}:{cell[0]}-{cell[1]}"


@pytest.mark.parametrize("cell", sorted(ALLOWED, key=names), ids=names)
def test_an_allowed_move_changes_the_state_and_writes_the_timeline(
    cell: tuple[State, State], sqlite_sessions: Sessions
) -> None:
    old, new = cell
    with sqlite_sessions.begin() as session:
        row = MAKERS[type(old)](session, state=old)
        assert advance(session, row, new, now=NOON, reason="because")
        assert row.state == new
    last = all_of(sqlite_sessions, Transition)[-1]
    assert (last.row_kind, last.row_id, last.old, last.new) == (row.__tablename__, row.id, old, new)
    assert (last.reason, last.at) == ("because", NOON)


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in ALLOWED], ids=names)
def test_a_move_that_is_not_in_the_table_is_a_bug(cell: tuple[State, State], sqlite_sessions: Sessions) -> None:
    old, new = cell
    with sqlite_sessions.begin() as session:
        row = MAKERS[type(old)](session, state=old)
    count = len(all_of(sqlite_sessions, Transition))
    with sqlite_sessions.begin() as session:
        session.add(row)
        with pytest.raises(IllegalMove, match=rf"{row.id}: {old} -> {new} is not in the table"):
            advance(session, row, new, now=NOON)
    assert only_state(sqlite_sessions, type(row), row.id) == old
    assert len(all_of(sqlite_sessions, Transition)) == count


def test_the_first_state_has_its_line_in_the_timeline(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        add_study(session)
    first = only(sqlite_sessions, Transition)
    assert (first.old, first.new, first.reason) == ("", "receiving", "first instance received")


def test_who_comes_second_changes_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        mine = add_study(session)
    with sessions.begin() as session:
        theirs = session.get_one(type(mine), mine.id)
        advance(session, theirs, StudyState.COMPLETE, now=NOON)
    with sessions.begin() as session:
        session.add(mine)
        assert not advance(session, mine, StudyState.COMPLETE, now=NOON)
        assert mine.state == StudyState.RECEIVING  # neither in memory, where others would believe it
    assert moves_of(sessions, "study") == [("", "receiving"), ("receiving", "complete")]


@pytest.mark.parametrize(("kind", "make"), LEASED)
def test_six_threads_over_twenty_rows_claim_each_exactly_once(
    kind: type[Job], make: Callable[..., Row], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        for _ in range(20):
            make(session)
    claimed: list[int] = []
    lock = threading.Lock()

    def claim_all() -> None:
        while True:
            with sessions.begin() as session:
                row = claim(session, kind, now=NOON, lease_s=60)
            if row is None:
                return
            with lock:
                claimed.append(row.id)

    in_threads(claim_all, 6)
    assert sorted(claimed) == sorted(row.id for row in all_of(sessions, kind))
    assert {row.attempts for row in all_of(sessions, kind)} == {1}


def test_a_claim_takes_the_most_urgent_then_the_oldest(sessions: Sessions) -> None:
    with sessions.begin() as session:
        young = add_job(session, due_at=NOON - timedelta(seconds=1))
        old = add_job(session, due_at=NOON - timedelta(seconds=9))
        urgent = add_job(session, priority=0)
    assert [claim_one(sessions).id for _ in range(3)] == [urgent.id, old.id, young.id]


def test_a_claim_takes_nothing_that_is_not_due(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, due_at=NOON + timedelta(seconds=1))
        add_job(session, state="skipped")
        assert claim(session, Job, now=NOON, lease_s=60) is None


def test_an_attempt_is_counted_and_leased_before_the_work_starts(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, attempts=1)
    job = claim_one(sessions)
    assert (job.state, job.attempts, job.lease_until) == ("inferring", 2, NOON + timedelta(seconds=60))
    assert all_of(sessions, Transition)[-1].reason == "attempt 2"


@pytest.mark.parametrize("end", [JobState.REPORTED, JobState.SKIPPED, JobState.FAILED, JobState.QUEUED])
def test_whoever_lost_the_lease_moves_nothing(end: JobState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session)
    lost = claim_one(sessions)
    with sessions.begin() as session:
        row = session.get_one(Job, lost.id)
        put_back(session, row, now=NOON, due_at=NOON, max_attempts=3, reason="the process died")
    held = claim_one(sessions)
    with sessions.begin() as session:
        session.add(lost)
        assert not advance(session, lost, end, now=NOON)
    now = only(sessions, Job)
    assert (now.state, now.attempts, now.lease_until) == ("inferring", 2, held.lease_until)


@pytest.mark.parametrize(("kind", "make"), LEASED)
def test_a_row_is_put_back_until_its_attempts_are_used_up(
    kind: type[Job], make: Callable[..., Row], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        waiting = make(session).state
    later = NOON + timedelta(seconds=5)
    seen = []
    for now in (NOON, later, later):
        with sessions.begin() as session:
            row = claim(session, kind, now=now, lease_s=60)
            put_back(session, row, now=now, due_at=later, max_attempts=3, reason="no answer.")
            seen.append((row.state, row.due_at == later, row.lease_until))
    assert seen == [(waiting, True, None), (waiting, True, None), ("failed", True, None)]
    reasons = [each.reason for each in all_of(sessions, Transition) if each.row_kind == kind.__tablename__]
    assert reasons[2] == "no answer; attempt 1 of 3, again at 2026-03-01 12:00:05 UTC"
    assert reasons[-1] == "no answer; gave up after 3 attempts"


@pytest.mark.parametrize("first", JobState)
def test_a_study_is_drafted_once_at_a_time(first: JobState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        for second in JobState:
            study = add_study(session)
            add_job(session, study, state=first)
            if first in DRAFTING_JOB_STATES and second in DRAFTING_JOB_STATES:
                with pytest.raises(IntegrityError), session.begin_nested():
                    add_job(session, study, revision=2, state=second)
            else:
                add_job(session, study, revision=2, state=second)


def test_two_jobs_of_one_revision_are_refused(sessions: Sessions) -> None:
    with sessions() as session:
        study = add_study(session)
        add_job(session, study, state="done")
        with pytest.raises(IntegrityError):
            add_job(session, study, state="skipped")


def claim_one(sessions: Sessions) -> Job:
    with sessions.begin() as session:
        job = claim(session, Job, now=NOON, lease_s=60)
    assert job is not None
    return job


def only_state(sessions: Sessions, model: type[SQLModel], row_id: int) -> str:
    with sessions() as session:
        return state_of(session, model, row_id)


def state_of(session: Session, model: type[SQLModel], row_id: int) -> str:
    return str(session.get_one(model, row_id).state)  # type: ignore[attr-defined]
