"""How a role works, round by round."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from dicom_node import rounds


def test_work_that_finds_more_is_called_again_at_once() -> None:
    stop, left = threading.Event(), [True, True, True]

    def work() -> bool:
        if left:
            return left.pop()
        stop.set()
        return False

    rounds.every(0.0, stop, work)
    assert left == []


def test_a_database_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rounds, "_WAIT_FOR_DATABASE_S", 0.01)
    stop, calls = threading.Event(), 0

    def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OperationalError("SELECT 'CANARY'", {}, ConnectionError("CANARY"))
        stop.set()

    rounds.every(0.0, stop, work)
    assert calls == 2
    assert "database_away" in caplog.text


def test_any_other_error_ends_the_role() -> None:
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rounds.every(0.0, threading.Event(), work)


def test_the_end_of_a_work_is_written_down_when_the_database_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_WAIT_FOR_DATABASE_S", 0.01)
    failures = [OperationalError("", {}, ConnectionError()), OperationalError("", {}, ConnectionError())]

    def write() -> str:
        if failures:
            raise failures.pop()
        return "written"

    assert rounds.persist(threading.Event(), write) == "written"


def test_a_role_that_is_told_to_stop_does_not_wait_for_the_database() -> None:
    stop = threading.Event()
    stop.set()

    def write() -> None:
        raise OperationalError("", {}, ConnectionError())

    with pytest.raises(OperationalError):
        rounds.persist(stop, write)


def test_one_broken_round_ends_all_of_a_role() -> None:
    stop = threading.Event()

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rounds.together(0.01, stop, {"broken": broken, "well": lambda: None})
    assert stop.is_set()


def test_a_role_without_rounds_waits_to_be_stopped() -> None:
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    rounds.together(0.01, stop, {})
    assert stop.is_set()
