"""The receiver alone under kill -9: every object answered with Success is there, byte for byte, with its row.

As one process, and as several on one port, of which any is killed.
"""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from operator import itemgetter
from pathlib import Path

import pytest
from films import dx_bytes, gradient
from pydicom import dcmread
from raw_peer import ACCEPTED, RawPeer
from raw_peer import store as store_pdus
from rows import all_of
from stored_files import unfinished_files
from waiting import LONG_S, free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
from dicom_node.models import Instance
from dicom_node.receive.intake import SUCCESS, Receiver
from dicom_node.receive.scp import look_over_files
from dicom_node.storage import InstanceStore, StoredFile

pytestmark = [pytest.mark.kill, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("KILLS", "10"))
SENDERS = 4
_START_S = 120.0
_ROLE = [sys.executable, "-m", "dicom_node"]


class Scp:
    """The scp role as a process."""

    def __init__(self, settings: Settings, processes: int = 1) -> None:
        self.port, self.log = free_port(), settings.data_dir / "scp.log"
        own = {"DATA_DIR": str(settings.data_dir), "PORT": str(self.port), "MIN_FREE_BYTES": "0"}
        own["RECEIVE_PROCESSES"] = str(processes)
        self._environment = {**os.environ, **{f"DICOM_NODE_{key}": value for key, value in own.items()}}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [*_ROLE, "scp"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._listens, "the receiver listens", timeout_s=_START_S)

    def kill(self, choose: Callable[[list[int]], int] = itemgetter(0)) -> None:
        """One of its processes, by default the first, upon which all end."""
        if self._process is not None:
            siblings = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(choose([self._process.pid, *map(int, siblings.read_text().split())]), signal.SIGKILL)
            self._process.wait(3 * LONG_S)  # where a sibling was killed, the others end in good order

    def _listens(self) -> bool:
        with suppress(OSError), RawPeer(self.port):
            return True
        return False


def keep_sending(scp: Scp, name: int, stop: threading.Event, acknowledged: dict[str, str]) -> None:
    """Object after object, each until it is acknowledged, as a modality does."""
    number = 0
    while not stop.is_set():
        uid = f"1.2.{name}.{number}"
        part10 = dx_bytes(gradient(300 + number % 7, 200), SOPInstanceUID=uid)
        data_set = part10[part10.index(b"\x08\0\x16\0UI") :]
        with suppress(OSError, AssertionError), RawPeer(scp.port) as peer:
            if peer.associate() == ACCEPTED:
                peer.send(store_pdus(uid, data_set))
                if peer.status() == SUCCESS:
                    acknowledged[uid] = sha256(data_set).hexdigest()
                    number += 1
        stop.wait(0.05)


@pytest.mark.parametrize("processes", [1, 3])
def test_what_was_acknowledged_survives_every_kill(settings: Settings, processes: int) -> None:
    engine = open_database(settings)
    subprocess.run(
        [*_ROLE, "migrate"], env={**os.environ, "DICOM_NODE_DATA_DIR": str(settings.data_dir)}, check=True, timeout=300
    )
    scp, stop, chance = Scp(settings, processes), threading.Event(), random.Random(20_261_125)
    acknowledged: dict[str, str] = {}
    for name in range(1, SENDERS + 1):
        threading.Thread(target=keep_sending, args=(scp, name, stop, acknowledged), daemon=True).start()
    try:
        for _ in range(KILLS):
            scp.start()
            at_least = len(acknowledged) + 1
            wait_until(lambda: len(acknowledged) >= at_least, "something is received", _START_S)  # noqa: B023
            stop.wait(chance.uniform(0.0, 0.5))
            scp.kill(chance.choice)
    finally:
        stop.set()
        scp.kill()
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged")
    _check(settings, Receiver(InstanceStore(settings.instances_dir), Sessions(engine), _later), acknowledged)
    engine.dispose()


def _later() -> datetime:
    """When what a crash cut short is old enough to be thrown away."""
    return datetime.now(UTC) + timedelta(days=1)


def _check(settings: Settings, receiver: Receiver, acknowledged: dict[str, str]) -> None:
    rows = {row.sop_instance_uid: row for row in all_of(receiver.sessions, Instance)}
    kept = {uid: receiver.store.sha256(StoredFile(row.path, row.size_bytes)) for uid, row in rows.items()}
    assert [uid for uid, digest in acknowledged.items() if kept.get(uid) != digest] == []
    for row in rows.values():
        file = receiver.store.open(row.path)
        assert str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) == row.sop_instance_uid
    look_over_files(receiver)
    assert unfinished_files(settings.instances_dir) == []
