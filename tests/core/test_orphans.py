"""What dead processes held goes back, and what living ones hold does not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, cast

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, all_of, only
from sqlalchemy import Engine, text
from waiting import wait_until

from dicom_node import orphans
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Delivery, Job, Transition
from dicom_node.orphans import Lock, return_orphans, take_over

Take = Callable[[type[Job] | type[Delivery]], Lock]

LEASE_END = NOON + timedelta(seconds=60)


def test_an_expired_lease_puts_the_job_back_at_once(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=1, lease_until=LEASE_END)
    now = LEASE_END + timedelta(seconds=1)
    return_orphans(sessions, settings, now, Job)
    job = only(sessions, Job)
    assert (job.state, job.attempts, job.due_at, job.lease_until) == ("queued", 1, now, None)
    assert all_of(sessions, Transition)[-1].reason.startswith("the process that worked on it died; attempt 1 of 3")


def test_a_lease_that_runs_is_left_alone(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=1, lease_until=LEASE_END)
    return_orphans(sessions, settings, LEASE_END, Job)
    assert only(sessions, Job).state == "inferring"


def test_a_job_that_killed_its_worker_too_often_fails(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=settings.max_job_attempts, lease_until=NOON)
    return_orphans(sessions, settings, LEASE_END, Job)
    job = only(sessions, Job)
    assert (job.state, job.reason) == ("failed", "the process that worked on it died; gave up after 3 attempts")


def test_deliveries_that_killed_their_relay_too_often_fail_their_job(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        report = add_report(session, add_job(session, state="reported"))
        for name in ("pacs", "second-pacs"):
            attempts = settings.max_delivery_attempts
            add_delivery(session, report, destination=name, state="sending", attempts=attempts, lease_until=NOON)
    return_orphans(sessions, settings, LEASE_END, Delivery)
    assert {each.state for each in all_of(sessions, Delivery)} == {"failed"}
    job = only(sessions, Job)
    assert job.state == "failed"
    assert job.reason.startswith("delivery to pacs failed: the process that worked on it died")


@pytest.fixture
def take(engine: Engine, sessions: Sessions, settings: Settings) -> Iterator[Take]:
    """A process of a role starts; its lock ends with the test, if not before."""
    with ExitStack() as locks:

        def start(kind: type[Job] | type[Delivery]) -> Lock:
            lock = take_over(engine, sessions, settings, NOON, kind)
            locks.callback(lock.close)
            return lock

        yield start


def claimed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=1, lease_until=LEASE_END)
        add_delivery(session, state="sending", attempts=1, lease_until=LEASE_END)


@pytest.mark.parametrize(("kind", "states"), [(Job, {"queued", "reported"}), (Delivery, {"pending"})])
def test_the_only_process_of_its_role_takes_over_at_once(
    kind: type[Job] | type[Delivery], states: set[str], sessions: Sessions, take: Take
) -> None:
    claimed(sessions)
    take(kind)
    assert {row.state for row in all_of(sessions, kind)} == states


def test_a_second_process_of_a_role_waits_for_leases(sessions: Sessions, take: Take) -> None:
    take(Job)
    claimed(sessions)
    take(Job)
    assert "inferring" in {job.state for job in all_of(sessions, Job)}


def test_the_first_process_started_anew_leaves_the_second_one_s_work_alone(sessions: Sessions, take: Take) -> None:
    first = take(Job)
    take(Job)
    claimed(sessions)
    first.close()
    take(Job)
    assert "inferring" in {job.state for job in all_of(sessions, Job)}


def test_when_all_of_a_role_are_dead_the_next_one_takes_over(sessions: Sessions, take: Take) -> None:
    locks = [take(Job), take(Job)]
    claimed(sessions)
    for lock in locks:
        lock.close()
    take(Job)
    assert "inferring" not in {job.state for job in all_of(sessions, Job)}


def test_one_role_does_not_hold_up_another(sessions: Sessions, take: Take) -> None:
    take(Job)
    claimed(sessions)
    take(Delivery)
    assert {delivery.state for delivery in all_of(sessions, Delivery)} == {"pending"}


def test_a_lock_that_the_server_forgot_is_taken_again(
    engine: Engine, sessions: Sessions, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite's lock is the kernel's")
    monkeypatch.setattr(orphans, "_LOOK_EVERY_S", 0.05)
    lock = cast(Any, take(Job))
    held = lock._connection
    with engine.connect() as connection, lock._using:
        own = held.execute(text("SELECT pg_backend_pid()")).scalar()
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
    wait_until(lambda: lock._connection is not held, "it has noticed")
    claimed(sessions)
    take(Job)
    assert "inferring" in {job.state for job in all_of(sessions, Job)}
