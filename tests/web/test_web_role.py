"""The web role as a process, and what it says when disk or database is away."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Self

import pytest
from doubles import FrozenClock
from films import gradient
from rows import all_of, only
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from stored_files import unfinished_files
from stow_peer import FAILED, LARGE, Answer, SlowSender, body_of, data_set_of, film, health, serving
from waiting import free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.receive.intake import OUT_OF_RESOURCES, Receiver
from dicom_node.storage import InstanceStore
from dicom_node.web.health import Checkup


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


def leftovers(receiver: Receiver) -> list[Path]:
    return unfinished_files(receiver.store.root)


class WebRole:
    """`dicom-node web` on a free port."""

    def __init__(self, settings: Settings) -> None:
        self.port = free_port()
        own = {"DATA_DIR": str(settings.data_dir), "HTTP_PORT": str(self.port), "MIN_FREE_BYTES": "0"}
        environment = {**os.environ, **{f"DICOM_NODE_{key}": value for key, value in own.items()}}
        command = [sys.executable, "-m", "dicom_node", "web"]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        wait_until(self._is_well, "the role is well", timeout_s=90)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def peak_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    def _is_well(self) -> bool:
        with suppress(OSError, HTTPException):
            return health(self.port).status == 200
        return False


def test_a_large_part_needs_little_memory(settings: Settings, sqlite_sessions: Sessions) -> None:
    part10 = film("1.2.1", pixels=gradient(10_000, 10_500))
    body = body_of(part10)
    with WebRole(settings) as role:
        assert Answer(role.port, body_of(film())).status == 200
        before = role.peak_kib()
        assert Answer(role.port, body).status == 200
        grown = role.peak_kib() - before
    print(f"{len(body) / 2**20:.0f} MiB sent, {grown / 1024:.1f} MiB grown from {before / 1024:.0f} MiB")
    assert grown < 16 * 1024
    assert len(all_of(sqlite_sessions, Instance)) == 2


@pytest.mark.kill
def test_what_was_answered_survives_a_kill(settings: Settings, sqlite_sessions: Sessions) -> None:
    with WebRole(settings) as role:
        assert Answer(role.port, body_of(film("1.2.1"), film("1.2.2"))).status == 200
        role.process.send_signal(signal.SIGKILL)
    rows = all_of(sqlite_sessions, Instance)
    assert [row.sop_instance_uid for row in rows] == ["1.2.1", "1.2.2"]
    for row in rows:
        kept = (settings.instances_dir / row.path).read_bytes()
        assert data_set_of(kept) == data_set_of(film(row.sop_instance_uid))


def test_the_role_ends_when_it_is_told_to_and_what_is_being_received_is_stored(
    settings: Settings, receiver: Receiver
) -> None:
    with WebRole(settings) as role:
        sender = SlowSender(role.port, body_of(LARGE))
        with sender.socket:
            sender.send(200_000)
            wait_until(lambda: leftovers(receiver), "it is being received")
            role.process.terminate()
            wait_until(lambda: not is_open(role.port), "nobody else is let in")
            sender.send()
            assert sender.status() == 200
        _, log = role.process.communicate(timeout=60)
        assert role.process.returncode == 0, log
    assert '"role_stopped"' in log
    assert len(all_of(receiver.sessions, Instance)) == 1


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("reserve", "status"), [(0, 200), (2**60, 503)])
def test_health_is_told_as_it_is(reserve: int, status: int, settings: Settings, receiver: Receiver) -> None:
    receiver.store._min_free_bytes = reserve
    with serving(settings, receiver) as port:
        told = health(port)
    words = b"The instance folder cannot be written, or has no room.\n"
    assert (told.status, told.content == words) == (status, status == 503)
    assert leftovers(receiver) == []


def test_a_folder_that_has_room_but_cannot_be_written_is_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "writev", fail)
    assert list(Checkup(receiver).faults()) == ["The instance folder cannot be written, or has no room."]


def test_strangers_who_ask_for_health_touch_the_disk_once_a_second(receiver: Receiver) -> None:
    now, disk = [100.0], receiver.store
    checkup = Checkup(receiver, timer=lambda: now[0])
    assert list(checkup.faults()) == []
    disk._min_free_bytes = 2**60
    now[0] += 0.9
    assert list(checkup.faults()) == []
    now[0] += 0.1
    assert list(checkup.faults()) == ["The instance folder cannot be written, or has no room."]
    disk._min_free_bytes = 0
    now[0] += 1
    assert list(checkup.faults()) == []


def test_a_look_that_took_long_is_good_for_a_second_too(receiver: Receiver) -> None:
    ticks = iter([100.0, 130.0, 130.9])
    checkup = Checkup(receiver, timer=lambda: next(ticks))
    assert list(checkup.faults()) == []
    receiver.store._min_free_bytes = 2**60
    assert list(checkup.faults()) == []


def test_a_full_disk_is_told_and_nothing_is_left(settings: Settings, receiver: Receiver) -> None:
    disk = receiver.store
    larger = film("1.2.99", pixels=gradient(1500, 1000))  # the disk is asked for room every megabyte
    with serving(settings, receiver) as port:
        sender = SlowSender(port, body_of(larger))
        with sender.socket:
            sender.send(200_000)
            wait_until(lambda: leftovers(receiver), "it is being received")
            disk._min_free_bytes = 2**60
            sender.send()
            assert sender.status() == 503
        answer = Answer(port, body_of(film()))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
        disk._min_free_bytes = 0
        assert Answer(port, body_of(film())).status == 200
    assert leftovers(receiver) == []


@pytest.mark.parametrize("database", ["sqlite_engine", "postgres_engine"])
def test_a_database_that_is_away_is_told_until_it_is_back(
    database: str, settings: Settings, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue(database)
    receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(engine), FrozenClock())
    with serving(settings, receiver) as port:
        with away(engine):
            answer = Answer(port, body_of(film("1.2.1")))
            assert (answer.status, answer[FAILED]) == (503, [("1.2.1", OUT_OF_RESOURCES)])
            ill = health(port)
            assert (ill.status, ill.content) == (503, b"The database is away.\n")
        assert Answer(port, body_of(film("1.2.1"))).status == 200
    assert only(receiver.sessions, Instance).id


@contextmanager
def away(engine: Engine) -> Iterator[None]:
    """A database that nobody can reach."""

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("connect", {}, Exception("CANARY"))

    engine.dispose()
    creator = engine.pool._creator
    engine.pool._creator = fail
    yield
    engine.pool._creator = creator
