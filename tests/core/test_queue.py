"""The bell: when it is rung, and that a broker that is away is no error."""

import json
from datetime import timedelta

import pytest
from doubles import NOON
from redis import Redis
from rows import add_job
from waiting import free_port

from dicom_node.broker import BrokerBell, make_broker
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.queue import QUEUE_NAME, RING_AGAIN_AFTER_S, TASK_NAME, jobs_long_rung, jobs_to_ring

SECOND = timedelta(seconds=1)
AGAIN = timedelta(seconds=RING_AGAIN_AFTER_S)


@pytest.mark.parametrize(
    ("columns", "is_rung"),
    [
        ({}, True),
        ({"due_at": NOON - SECOND}, True),
        ({"due_at": NOON + SECOND}, False),  # not due yet
        ({"rung_at": NOON}, False),  # the broker has it
        ({"rung_at": NOON - SECOND, "due_at": NOON}, True),  # rung, taken, put back: due anew
        ({"rung_at": NOON - AGAIN, "due_at": NOON - AGAIN}, False),
        ({"rung_at": NOON - AGAIN - SECOND, "due_at": NOON - AGAIN - SECOND}, True),  # the bell may be lost
        ({"state": "inferring"}, False),
        ({"state": "reported"}, False),
        ({"state": "skipped"}, False),
        ({"state": "failed"}, False),
        ({"state": "done"}, False),
    ],
)
def test_the_bell_is_rung_for_due_jobs_the_broker_has_not_heard_of(
    columns: dict[str, object], is_rung: bool, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        add_job(session, **columns)
        assert bool(jobs_to_ring(session, NOON) or jobs_long_rung(session, NOON)) == is_rung


def test_the_most_urgent_is_rung_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        young = add_job(session)
        old = add_job(session, due_at=NOON - SECOND)
        urgent = add_job(session, priority=0)
        assert jobs_to_ring(session, NOON) == [urgent, old, young]


def test_without_a_broker_there_is_no_application(settings: Settings) -> None:
    with pytest.raises(ValueError, match="broker_url is not set"):
        make_broker(settings)


def test_a_message_holds_the_job_and_nothing_else(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
        bell = BrokerBell(Settings(broker_url=redis_url))
        assert bell.ring(7, 0)
        message = json.loads(redis.lindex(QUEUE_NAME, 0))
        redis.flushall()
    assert message["headers"]["task"] == TASK_NAME
    assert message["headers"]["argsrepr"] == "[7]"
    assert message["headers"]["kwargsrepr"] == "{}"


def test_the_bells_that_nobody_has_heard_are_counted_at_every_priority(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
        bell = BrokerBell(Settings(broker_url=redis_url))
        counts = [bell.unheard()]
        for priority in (0, 5, 9):
            bell.ring(7, priority)
            counts.append(bell.unheard())
        redis.flushall()
    assert counts == [0, 1, 2, 3]


def test_a_broker_that_is_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    bell = BrokerBell(Settings(broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    assert (bell.ring(7, 5), bell.unheard()) == (False, 0)
    assert "bell_not_rung" in caplog.text


def test_a_broker_that_went_away_and_came_back_is_rung_again(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        bell = BrokerBell(Settings(broker_url=redis_url))
        assert bell.ring(7, 5)
        redis.client_kill_filter(_type="normal", skipme=True)
        heard = [bell.ring(7, 5) for _ in range(2)]
        redis.flushall()
    assert heard[-1]


def test_a_broker_that_is_full_is_no_error(redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        bell = BrokerBell(Settings(broker_url=redis_url))
        redis.config_set("maxmemory", "1")
        try:
            assert not bell.ring(7, 5)
        finally:
            redis.config_set("maxmemory", "0")
        assert bell.ring(7, 5)
        redis.flushall()
