"""Several processes on one port, as a role: all of them receive, and they stand and fall together."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from films import dx_bytes, gradient
from house import is_open
from living_roles import is_alive
from raw_peer import ACCEPTED, RELEASE, RawPeer
from raw_peer import store as store_pdus
from rows import all_of
from scp_role import Role
from sqlalchemy import Engine
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.storage import InstanceStore

pytestmark = pytest.mark.system

PROCESSES, SENDERS, OBJECTS = 3, 12, 5


@pytest.fixture
def role(settings: Settings, engine: Engine, tmp_path: Path) -> Iterator[Role]:
    url = engine.url.render_as_string(hide_password=False)
    own = {"data_dir": settings.data_dir, "database_url": url, "receive_processes": PROCESSES, "min_free_bytes": 0}
    started = Role(tmp_path / "log", own)
    started.start()
    yield started
    started.end(signal.SIGKILL)


def test_all_of_them_receive_and_nothing_is_lost_or_doubled(role: Role, settings: Settings, sessions: Sessions) -> None:
    _siblings(role)
    numbers, together = count(), threading.Barrier(SENDERS)

    def send(_: int) -> list[str]:
        with RawPeer(role.port) as peer:
            assert peer.associate() == ACCEPTED
            together.wait(LONG_S)
            uids = [f"1.2.{next(numbers)}" for _ in range(OBJECTS)]
            for uid in uids:
                _store(peer, uid)
            peer.send(RELEASE)
            peer.answer()
        return uids

    with ThreadPoolExecutor(SENDERS) as pool:
        sent = [uid for uids in pool.map(send, range(SENDERS)) for uid in uids]
    rows = all_of(sessions, Instance)
    assert sorted(row.sop_instance_uid for row in rows) == sorted(sent)
    store = InstanceStore(settings.instances_dir)
    assert len({store.open(row.path).stat().st_ino for row in rows}) == len(sent)
    # The name of a file begins with a token of the process that wrote it. Whoever is free takes a connection.
    tokens = {Path(row.path).name.split("-")[0] for row in rows}

    def is_taken_by_another() -> bool:
        _send(role.port, f"1.2.{next(numbers)}")
        return {Path(row.path).name.split("-")[0] for row in all_of(sessions, Instance)} > tokens

    if len(tokens) == 1:
        wait_until(is_taken_by_another, "another process takes a connection, too")


def _send(port: int, uid: str) -> None:
    with RawPeer(port) as peer:
        assert peer.associate() == ACCEPTED
        _store(peer, uid)


def _store(peer: RawPeer, uid: str) -> None:
    part10 = dx_bytes(gradient(200, 300), SOPInstanceUID=uid)
    peer.send(store_pdus(uid, part10[part10.index(b"\x08\0\x16\0UI") :]))
    assert peer.status() == 0


def test_if_one_ends_all_end_and_if_the_first_is_killed_the_port_is_free(role: Role) -> None:
    siblings = _siblings(role)
    os.kill(siblings[0], signal.SIGKILL)
    assert role.process is not None
    assert role.process.wait(LONG_S) == 1
    assert not any(map(is_alive, siblings))
    assert "all that receive are started again" in role.log.read_text()
    assert "Traceback" not in role.log.read_text()
    role.start()
    siblings = _siblings(role)
    role.process.kill()
    role.process.wait()
    role.process = None
    wait_until(lambda: not any(map(is_alive, siblings)), "none outlives the first")
    wait_until(lambda: not is_open(role.port), "the port is free")


def test_they_end_in_good_order_when_they_are_told_to(role: Role) -> None:
    process = role.process
    assert process is not None
    siblings = _siblings(role)
    with RawPeer(role.port) as peer:
        assert peer.associate() == ACCEPTED
        process.terminate()
        assert process.wait(LONG_S) == 0
    role.process = None
    assert not any(map(is_alive, siblings))
    assert "Traceback" not in role.log.read_text()


def _siblings(role: Role) -> list[int]:
    """Their process ids, once all receive."""
    pid = role.process.pid if role.process else 0
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: len(children.read_text().split()) == PROCESSES - 1, "all are started")
    siblings = [int(each) for each in children.read_text().split()]
    listening = [f'"pid": {each}, "event": "listening"' for each in (pid, *siblings)]
    wait_until(lambda: all(each in role.log.read_text() for each in listening), "all receive")
    return siblings
