"""One round of the sweep."""

from datetime import timedelta

import pytest
from doubles import NOON, FakeBroker, FrozenClock
from rows import add_delivery, add_job, add_pull, add_study, all_of, moves_of, only

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Delivery, Job, Pull, Transition
from dicom_node.peers import DicomDestination
from dicom_node.queue import RING_AGAIN_AFTER_S
from dicom_node.receive import completeness, sweep
from dicom_node.receive.sweep import sweep_once


def test_a_quiet_study_is_queued_and_its_bell_rung_once(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_study(session)
    clock, broker = FrozenClock(), FakeBroker()
    clock.forward(settings.idle_timeout_s)
    for _ in range(3):
        sweep_once(sessions, settings, clock, broker)
    job = only(sessions, Job)
    assert broker.heard == [(job.id, 5)]
    assert job.rung_at == clock.now


def test_many_studies_are_closed_in_several_transactions_the_longest_quiet_first(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (completeness, sweep):
        monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    with sessions.begin() as session:
        times = [NOON + timedelta(seconds=seconds) for seconds in (2, 1, 0)]
        studies = [add_study(session, last_received_at=each).id for each in times]
    clock = FrozenClock()
    clock.forward(settings.idle_timeout_s + 2)
    assert [sweep_once(sessions, settings, clock, None) for _ in range(2)] == [True, False]
    assert [job.study_id for job in all_of(sessions, Job)] == studies[::-1]


def test_without_a_broker_the_job_waits_in_the_table(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session)
    sweep_once(sessions, settings, FrozenClock(), None)
    assert (only(sessions, Job).state, only(sessions, Job).rung_at) == ("queued", None)


def test_a_bell_that_a_broker_did_not_hear_is_rung_when_it_is_back(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        for _ in range(3):
            add_job(session)
    broker = FakeBroker()
    broker.is_up = False
    sweep_once(sessions, settings, FrozenClock(), broker)
    assert {job.rung_at for job in all_of(sessions, Job)} == {None}
    broker.is_up = True
    sweep_once(sessions, settings, FrozenClock(), broker)
    assert [job_id for job_id, _ in broker.heard] == [job.id for job in all_of(sessions, Job)]


def test_a_bell_that_was_lost_is_rung_again(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session)
    clock, broker = FrozenClock(), FakeBroker()
    sweep_once(sessions, settings, clock, broker)
    broker.lying = 0
    clock.forward(RING_AGAIN_AFTER_S + 1)
    sweep_once(sessions, settings, clock, broker)
    assert len(broker.heard) == 2


def test_a_job_that_was_put_back_long_after_its_bell_is_rung_for_once(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session, rung_at=NOON - timedelta(seconds=RING_AGAIN_AFTER_S + 1), due_at=NOON)
        add_job(session, rung_at=NOON, due_at=NOON)  # its bell is under way to a worker
    broker = FakeBroker()
    sweep_once(sessions, settings, FrozenClock(), broker)
    assert len(broker.heard) == 1


def test_bells_do_not_pile_up_while_no_worker_hears_them(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session)
    clock, broker = FrozenClock(), FakeBroker()
    for _ in range(5):
        sweep_once(sessions, settings, clock, broker)
        clock.forward(RING_AGAIN_AFTER_S + 1)
    with sessions.begin() as session:
        add_job(session, due_at=clock())
    sweep_once(sessions, settings, clock, broker)
    assert [job_id for job_id, _ in broker.heard] == [job.id for job in all_of(sessions, Job)]


def test_what_dead_processes_held_is_taken_back(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=1, lease_until=NOON - timedelta(seconds=1))
        add_delivery(session, state="sending", attempts=1, lease_until=NOON - timedelta(seconds=1))
        add_pull(session, state="pulling", attempts=1, lease_until=NOON - timedelta(seconds=1))
    sweep_once(sessions, settings, FrozenClock(), None)
    assert moves_of(sessions, "job")[-1] == ("inferring", "queued")
    assert (only(sessions, Delivery).state, only(sessions, Pull).state) == ("pending", "pending")


def test_a_pull_that_killed_its_process_too_often_fails(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_pull(session, state="pulling", attempts=Pull.MOST_ATTEMPTS, lease_until=NOON - timedelta(seconds=1))
    sweep_once(sessions, settings, FrozenClock(), None)
    assert only(sessions, Pull).reason == "the process that worked on it died; gave up after 10 attempts"


def test_what_a_clock_that_was_ahead_has_dated_is_due_now(sessions: Sessions, settings: Settings) -> None:
    ahead, clock, broker = NOON + timedelta(hours=2), FrozenClock(), FakeBroker()
    with sessions.begin() as session:
        add_job(session, due_at=ahead, rung_at=ahead)
        add_delivery(session, due_at=ahead)
        add_pull(session, due_at=ahead + timedelta(days=365), attempts=3)
    for _ in range(2):
        sweep_once(sessions, settings, clock, broker)
    job = next(each for each in all_of(sessions, Job) if each.state == "queued")
    assert broker.heard == [(job.id, 5)]
    assert {job.due_at, only(sessions, Delivery).due_at, only(sessions, Pull).due_at} == {NOON}
    (said,) = [
        move.reason for move in all_of(sessions, Transition) if move.row_kind == "job" and "clock" in move.reason
    ]
    assert said == "it was due at 2026-03-01 14:00:00 UTC, by a clock that was wrong: it is due now"


def test_a_commitment_that_a_clock_that_was_ahead_has_dated_is_asked_for(
    sessions: Sessions, settings: Settings
) -> None:
    """Or, where it was asked for, given up: the study would have waited until that time has come."""
    pacs = DicomDestination(name="pacs", ae_title="PACS", host="pacs.example", commitment=True)
    settings = settings.model_copy(update={"pacs": (pacs,)})
    waits = {"state": "delivered", "attempts": 1, "wants_commitment": True}
    due = NOON + timedelta(seconds=pacs.commitment_timeout_s)
    with sessions.begin() as session:
        add_delivery(session, **waits, due_at=NOON + timedelta(hours=1))
        add_delivery(session, **waits, due_at=due + timedelta(days=365), transaction_uid="1.2")
        add_delivery(session, **waits, due_at=due, transaction_uid="1.3")
        add_delivery(session, **waits | {"wants_commitment": False}, due_at=due + timedelta(days=365))
    sweep_once(sessions, settings, FrozenClock(), None)
    ends = [each.due_at for each in all_of(sessions, Delivery)]
    assert ends == [NOON, NOON, due, due + timedelta(days=365)]


def test_a_bell_that_a_clock_that_was_ahead_has_rung_is_rung_again(sessions: Sessions, settings: Settings) -> None:
    """A job that was put back since would have been silent until that time has come."""
    with sessions.begin() as session:
        add_job(session, attempts=1, rung_at=NOON + timedelta(days=365))
    broker = FakeBroker()
    for _ in range(2):
        sweep_once(sessions, settings, FrozenClock(), broker)
    job = only(sessions, Job)
    assert (broker.heard, job.rung_at) == ([(job.id, 5)], NOON)


def test_a_lease_of_a_clock_that_was_ahead_ends_within_a_day_or_so(sessions: Sessions, settings: Settings) -> None:
    """Who died while it was, beside others that live, held its study until that time had come."""
    ahead, clock, held = NOON + timedelta(days=365), FrozenClock(), {"state": "inferring", "attempts": 1}
    soon = NOON + timedelta(hours=1)
    with sessions.begin() as session:
        add_job(session, **held, lease_until=ahead)
        add_job(session, **held, lease_until=soon)
        add_delivery(session, state="sending", attempts=1, lease_until=ahead)
    for _ in range(2):
        sweep_once(sessions, settings, clock, None)
        misdated, right = (each.lease_until for each in all_of(sessions, Job) if each.state == "inferring")
        assert (misdated - NOON < timedelta(days=2), right) == (True, soon)
    clock.forward(timedelta(days=2).total_seconds())
    sweep_once(sessions, settings, clock, None)
    assert {*moves_of(sessions, "job"), *moves_of(sessions, "delivery")} >= {
        ("inferring", "queued"),
        ("sending", "pending"),
    }


def test_what_waits_for_its_next_try_waits_on(sessions: Sessions, settings: Settings) -> None:
    """Also where the clock of the sweep is an hour behind."""
    later = NOON + timedelta(hours=1, seconds=settings.max_retry_after_s)
    with sessions.begin() as session:
        add_delivery(session, due_at=later, attempts=1)
    sweep_once(sessions, settings, FrozenClock(), None)
    assert only(sessions, Delivery).due_at == later
