"""The hl7 role under kill -9: every message that was acknowledged is there, byte for byte, with its order."""

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from hl7_messages import code_of, order
from inbound_peer import MllpSender
from rows import all_of
from waiting import LONG_S, free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions, migrate, open_database
from dicom_node.models import InboundMessage, Order

pytestmark = [pytest.mark.kill, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("KILLS", "10"))
SENDERS = 4
AT_ONCE = 10
_START_S = 120.0


class Role:
    """`dicom-node hl7` as a process."""

    def __init__(self, settings: Settings) -> None:
        self.port = free_port()
        own = {"DATA_DIR": str(settings.data_dir), "HL7_PORT": str(self.port)}
        self._environment = {**os.environ, **{f"DICOM_NODE_{key}": value for key, value in own.items()}}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "dicom_node", "hl7"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env=self._environment, **quiet)
        wait_until(self._listens, "the port is open", timeout_s=_START_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(LONG_S)

    def _listens(self) -> bool:
        with suppress(OSError), MllpSender(self.port):
            return True
        return False


def numbered(name: int, number: int) -> bytes:
    key = f"{name}-{number}"
    return order(control_id=key, placer=f"P{key}", filler=f"F{key}", accession=f"A{key}")


def keep_sending(role: Role, name: int, stop: threading.Event, acknowledged: dict[str, bytes]) -> None:
    """Several at once on one connection; what was not acknowledged is sent again."""
    number = 0
    while not stop.is_set():
        with suppress(OSError), MllpSender(role.port) as sender:
            while not stop.is_set():
                messages = [numbered(name, number + each) for each in range(AT_ONCE)]
                sender.send(*messages)
                for message in messages:
                    if code_of(answer := sender.hear()) != "AA" or answer is None:
                        raise ConnectionResetError
                    acknowledged[f"{name}-{number}"] = message
                    number += 1
        stop.wait(0.05)


def test_what_was_acknowledged_survives_every_kill(settings: Settings) -> None:
    engine = open_database(settings)
    migrate(engine)
    role, stop, chance = Role(settings), threading.Event(), random.Random(20_261_125)
    acknowledged: dict[str, bytes] = {}
    senders = [
        threading.Thread(target=keep_sending, args=(role, name, stop, acknowledged), daemon=True)
        for name in range(1, SENDERS + 1)
    ]
    for sender in senders:
        sender.start()
    try:
        for _ in range(KILLS):
            role.start()
            at_least = len(acknowledged) + 1
            wait_until(lambda: len(acknowledged) >= at_least, "a message is taken", _START_S)  # noqa: B023
            stop.wait(chance.uniform(0.0, 0.5))
            role.kill()
    finally:
        stop.set()
        role.kill()
    for sender in senders:
        sender.join(LONG_S)
    print(f"{KILLS} kills, {len(acknowledged)} acknowledged")
    sessions = Sessions(engine)
    rows = {row.control_id: row.raw for row in all_of(sessions, InboundMessage)}
    assert {key: raw for key, raw in acknowledged.items() if rows.get(key) != raw} == {}
    orders = [row.accession_number for row in all_of(sessions, Order)]
    assert sorted(orders) == sorted(f"A{key}" for key in rows)  # each worked in once, whatever came twice
    engine.dispose()
