"""Roles say that they are well, and whoever asks finds out which are not."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from socket import gethostname

import pytest
from doubles import NOON, FrozenClock
from rows import only
from sqlalchemy.exc import OperationalError
from sqlmodel import Session
from waiting import LONG_S, wait_until

from dicom_node import heartbeat, rounds
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.health import Condition, absent, conditions, conditions_here, expected
from dicom_node.heartbeat import SILENT_AFTER_S, Pulse, beating, beating_loop
from dicom_node.models import Heartbeat


class Timer:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_BEAT_EVERY_S", 0.02)
    monkeypatch.setattr(heartbeat, "_LAST_WORD_S", LONG_S)


def test_work_that_comes_round_in_time_is_well() -> None:
    timer = Timer()
    pulse = Pulse(timer=timer)
    pulse.beat("sweep", longest_s=60)
    timer.now += 60
    assert pulse.fault() == ""


def test_work_that_hangs_is_named() -> None:
    timer = Timer()
    pulse = Pulse(timer=timer)
    pulse.beat("relay-pacs", longest_s=60)
    pulse.beat("relay-ris", longest_s=600)
    timer.now += 61
    assert pulse.fault() == "relay-pacs did not come round in time"
    pulse.beat("relay-pacs", longest_s=60)
    assert pulse.fault() == ""


def test_a_role_that_lacks_what_it_needs_says_so() -> None:
    lacking = ["the model is not loaded", ""]
    pulse = Pulse(lacks=lambda: lacking[0])
    assert pulse.fault() == "the model is not loaded"
    lacking.pop(0)
    assert pulse.fault() == ""


def test_a_living_role_is_well_and_one_that_ended_in_good_order_leaves_nothing(sessions: Sessions) -> None:
    clock = FrozenClock()
    with beating("sweep", sessions, Pulse(), clock):
        wait_until(lambda: all_of_heartbeats(sessions), "it has said so")
        row = only(sessions, Heartbeat)
        assert (row.role, row.host, row.well_at, row.fault) == ("sweep", gethostname(), NOON, "")
        clock.forward(30)
        wait_until(lambda: only(sessions, Heartbeat).well_at == clock(), "it says so again")
    assert all_of_heartbeats(sessions) == []


def test_the_time_of_a_role_that_hangs_stands_still_and_the_reason_is_told(sessions: Sessions) -> None:
    clock, timer = FrozenClock(), Timer()
    pulse = Pulse(timer=timer)
    pulse.beat("sweep", longest_s=60)
    with beating("sweep", sessions, pulse, clock):
        wait_until(lambda: all_of_heartbeats(sessions), "it was well")
        timer.now += 61
        clock.forward(300)
        wait_until(lambda: only(sessions, Heartbeat).fault, "it says what is wrong")
        row = only(sessions, Heartbeat)
        assert (row.well_at, row.fault) == (NOON, "sweep did not come round in time")
        pulse.beat("sweep", longest_s=60)
        wait_until(lambda: only(sessions, Heartbeat).well_at == clock(), "it is well again")
        assert only(sessions, Heartbeat).fault == ""


def test_the_row_of_a_role_that_broke_stays(sqlite_sessions: Sessions) -> None:
    with suppress(ZeroDivisionError), beating("sweep", sqlite_sessions, Pulse(), FrozenClock()):
        wait_until(lambda: all_of_heartbeats(sqlite_sessions), "it was well")
        raise ZeroDivisionError
    assert only(sqlite_sessions, Heartbeat).role == "sweep"


class Leaving:
    """Sessions of a database that goes away and comes back."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.is_away = False

    def begin(self) -> AbstractContextManager[Session]:
        if self.is_away:
            raise OperationalError("CANARY", {}, ConnectionError())
        return self._sessions.begin()


def test_a_database_that_is_away_ends_no_role(sqlite_sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    leaving, clock = Leaving(sqlite_sessions), FrozenClock()
    with beating("sweep", leaving, Pulse(), clock):  # type: ignore[arg-type]  # all that it uses of them
        wait_until(lambda: all_of_heartbeats(sqlite_sessions), "it was well")
        leaving.is_away = True
        wait_until(lambda: "heartbeat_not_written" in caplog.text, "it could not say so")
        leaving.is_away = False
        clock.forward(30)
        wait_until(lambda: only(sqlite_sessions, Heartbeat).well_at == clock(), "it says so again")


def test_what_killed_containers_left_is_forgotten_by_their_successors(sessions: Sessions) -> None:
    long_ago = NOON - timedelta(hours=1, seconds=1)
    with sessions.begin() as session:
        session.add(Heartbeat(role="sweep", host="killed", well_at=long_ago))
        session.add(Heartbeat(role="sweep", host="just-killed", well_at=NOON - timedelta(minutes=1)))
        session.add(Heartbeat(role="relay", host="killed", well_at=long_ago))
    with beating("sweep", sessions, Pulse(), FrozenClock()):
        wait_until(lambda: ("sweep", gethostname()) in all_of_heartbeats(sessions), "the successor is there")
        left = set(all_of_heartbeats(sessions))
    assert left == {("sweep", gethostname()), ("sweep", "just-killed"), ("relay", "killed")}


def test_a_row_of_a_time_to_come_says_that_nobody_is_well(sessions: Sessions) -> None:
    """By a clock that was ahead: who died while it was would have been well until that time."""
    with sessions.begin() as session:
        for host, ahead in (("differs", timedelta(minutes=4)), ("died", timedelta(days=365))):
            session.add(Heartbeat(role="sweep", host=host, well_at=NOON + ahead))
    with sessions() as session:
        died, differs = conditions(session, NOON)
    assert (differs.is_well, died.is_well) == (True, False)
    assert "it was well at 2027-03-01 12:00:00 UTC, which is still to come" in died.words
    with beating("sweep", sessions, Pulse(), FrozenClock()):
        wait_until(lambda: ("sweep", gethostname()) in all_of_heartbeats(sessions), "the successor is there")
        left = {host for _, host in all_of_heartbeats(sessions)}
    assert left == {gethostname(), "differs"}


def test_who_died_and_is_not_to_run_any_more_is_not_missed() -> None:
    """A port or a source was taken out of the settings: nobody comes who would take the row away."""
    silent, runs = Condition("hl7", "host", SILENT_AFTER_S + 1, ""), Condition("puller", "host", 0.0, "")
    lost = Condition("scp", "host", SILENT_AFTER_S + 1, "")
    assert expected([silent, runs, lost], ("scp", "worker")) == [runs, lost]


def test_an_event_loop_that_is_blocked_is_noticed(sqlite_sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_LONGEST_TURN_S", 0.2)
    monkeypatch.setattr(heartbeat, "_LOOP_TURNS_EVERY_S", 0.01)

    async def live() -> None:
        async with beating_loop("web", sqlite_sessions, FrozenClock()):
            await asyncio.to_thread(wait_until, lambda: all_of_heartbeats(sqlite_sessions), "it is well")
            wait_until(lambda: only(sqlite_sessions, Heartbeat).fault, "blocked, it is not")
            assert only(sqlite_sessions, Heartbeat).fault == "event loop did not come round in time"

    asyncio.run(live())


def test_rounds_beat_with_their_names() -> None:
    stop, beats = threading.Event(), []
    works = {"one": stop.set, "other": stop.set}
    rounds.together(0.01, stop, works, beats.append)
    assert set(beats) <= {"one", "other"}
    assert beats


@pytest.mark.parametrize(
    ("age_s", "fault", "is_well"),
    [(0.0, "", True), (SILENT_AFTER_S, "", True), (SILENT_AFTER_S + 1, "", False), (0.0, "the model is away", False)],
)
def test_a_role_is_well_that_spoke_lately_and_has_no_fault(age_s: float, fault: str, is_well: bool) -> None:
    condition = Condition("worker", "host", age_s, fault)
    assert condition.is_well is is_well
    assert (condition.words == "worker: well.") is is_well


def test_a_role_that_never_was_well_is_not_said_to_have_been(sqlite_sessions: Sessions) -> None:
    with beating("worker", sqlite_sessions, Pulse(lambda: "the model is not loaded"), lambda: NOON):
        wait_until(lambda: all_of_heartbeats(sqlite_sessions), "it has said how it is")
        with sqlite_sessions() as session:
            (condition,) = conditions(session, NOON + timedelta(seconds=22))
    assert condition.words == f"worker on {gethostname()}: the model is not loaded (for 22 s)."


def test_only_the_role_of_this_host_counts_where_one_is_named(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        session.add(Heartbeat(role="worker", host="another", well_at=NOON))
    with sqlite_sessions() as session:
        found = conditions_here(session, "worker", NOON)
        assert absent(["worker"], found) == ["worker: does not run, or has not said so yet."]
        assert absent(["worker"], conditions(session, NOON)) == []
        with pytest.raises(Permanent, match="there is no role porter: expected one of worker, scp"):
            conditions_here(session, "porter", NOON)


def all_of_heartbeats(sessions: Sessions) -> list[tuple[str, str]]:
    with sessions() as session:
        return [(each.role, each.host) for each in conditions(session, NOON)]


def health(environment: dict[str, str], *role: str) -> tuple[int, str]:
    """Exit status and words of `dicom-node health`."""
    command = [sys.executable, "-m", "dicom_node", "health", *role]
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return asked.returncode, asked.stdout + asked.stderr


@contextmanager
def playing(role: str, environment: dict[str, str], tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "dicom_node", role], env=environment, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.system
@pytest.mark.kill
def test_health_follows_a_role_from_start_to_kill(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    environment = {**os.environ, "DICOM_NODE_DATA_DIR": str(settings.data_dir), "DICOM_NODE_PORT": "0"}
    assert health(environment, "scp") == (1, "scp: does not run, or has not said so yet.\n")
    with playing("scp", environment, tmp_path) as scp:
        wait_until(lambda: all_of_heartbeats(sqlite_sessions), "it has started", timeout_s=90)
        assert health(environment, "scp") == (0, "scp: well.\n")
        status, words = health(environment)
        assert (status, "scp: well." in words, "sweep: does not run" in words) == (1, True, True)
        scp.send_signal(signal.SIGKILL)
        scp.wait()
    with sqlite_sessions.begin() as session:  # as if the time had passed
        row = session.get_one(Heartbeat, ("scp", gethostname()))
        row.well_at -= timedelta(seconds=SILENT_AFTER_S + 1)
    status, words = health(environment, "scp")
    assert status == 1
    assert "silent: it hangs, is dead, or cannot reach the database" in words


@pytest.mark.system
def test_a_worker_whose_model_cannot_be_loaded_is_not_well(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    own = {"DATA_DIR": str(settings.data_dir), "MODEL_DIR": str(tmp_path / "no-model")}
    environment = {**os.environ, **{f"DICOM_NODE_{key}": value for key, value in own.items()}}
    with playing("worker", environment, tmp_path) as worker:
        worker.wait(90)
    status, words = health(environment, "worker")
    assert status == 1
    assert "the model is not loaded" in words


def test_a_database_that_is_away_is_told_in_a_sentence(tmp_path: Path) -> None:
    url = "postgresql+psycopg://node@127.0.0.1:1/node"
    environment = {**os.environ, "DICOM_NODE_DATA_DIR": str(tmp_path), "DICOM_NODE_DATABASE_URL": url}
    words = f"dicom-node: the database {url} cannot be used (OperationalError): `dicom-node doctor` says more\n"
    assert health(environment, "sweep") == (1, words)


def test_a_role_that_ends_leaves_the_row_of_another_process_that_lives(sqlite_sessions: Sessions) -> None:
    clock = FrozenClock(NOON)
    one, other = (heartbeat._Row("scp", sqlite_sessions, clock) for _ in range(2))
    one.write("")
    clock.now += timedelta(seconds=10)
    other.write("")
    one.delete()
    assert only(sqlite_sessions, Heartbeat).well_at == clock.now
    other.delete()
    with sqlite_sessions() as session:
        assert conditions(session, clock.now) == []
