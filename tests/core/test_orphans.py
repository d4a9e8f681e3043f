"""What dead processes held goes back, and what living ones hold does not."""

from datetime import timedelta

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, all_of, only
from sqlalchemy import Engine

from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
from dicom_node.models import Delivery, Job, Transition
from dicom_node.orphans import return_orphans, take_over

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


@pytest.mark.parametrize("kind", [Job, Delivery])
def test_the_only_process_of_its_role_takes_over_at_once(
    kind: type[Job], engine: Engine, sessions: Sessions, settings: Settings
) -> None:
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=1, lease_until=LEASE_END)
        add_delivery(session, state="sending", attempts=1, lease_until=LEASE_END)
    lock = take_over(engine, sessions, settings, NOON, kind)
    assert lock is not None
    waiting = {row.state for row in all_of(sessions, kind)}
    assert waiting == ({"queued", "reported"} if kind is Job else {"pending"})
    lock.close()


def test_a_second_process_of_a_role_waits_for_leases(engine: Engine, sessions: Sessions, settings: Settings) -> None:
    first = take_over(engine, sessions, settings, NOON, Job)
    with sessions.begin() as session:
        add_job(session, state="inferring", attempts=1, lease_until=LEASE_END)
    assert take_over(engine, sessions, settings, NOON, Job) is None
    assert only(sessions, Job).state == "inferring"
    assert first is not None
    first.close()


def test_the_lock_of_one_role_does_not_hold_another(engine: Engine, sessions: Sessions, settings: Settings) -> None:
    locks = [take_over(engine, sessions, settings, NOON, kind) for kind in (Job, Delivery)]
    for lock in locks:
        assert lock is not None
        lock.close()


def test_the_lock_ends_with_the_process_that_held_it(engine: Engine, sessions: Sessions, settings: Settings) -> None:
    url = engine.url.render_as_string(hide_password=False)
    other = open_database(Settings.model_validate({**settings.model_dump(), "database_url": url}))
    first = take_over(other, sessions, settings, NOON, Job)
    assert take_over(engine, sessions, settings, NOON, Job) is None
    assert first is not None
    first.close()
    other.dispose()  # what the death of a process does to its connections
    second = take_over(engine, sessions, settings, NOON, Job)
    assert second is not None
    second.close()
