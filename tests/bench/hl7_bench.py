"""`make bench-hl7`: how many orders a second the HL7 port takes, each committed before its AA.

By how many connections send, and how many messages each has under way: most RIS wait for every answer, MLLP release 2
lets them. DICOM_NODE_DATABASE_URL names another database than SQLite in a temporary folder.
"""

import argparse
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "integration", "system")]

from hl7_messages import order  # noqa: E402  found by the line above
from house import is_open  # noqa: E402
from process_figures import figures_of  # noqa: E402
from scp_role import Role  # noqa: E402
from waiting import free_port, in_threads, wait_until  # noqa: E402

from dicom_node.config import Settings  # noqa: E402
from dicom_node.database import migrate, opened  # noqa: E402

WAYS = ((1, 1), (8, 1), (32, 1), (1, 50), (8, 20))  # connections, messages under way on each
START, END = b"\x0b", b"\x1c\r"
EXPECTED = 500.0  # a second
START_S = 120.0


class Sender:
    """One connection that keeps so many messages under way."""

    def __init__(self, port: int, name: str, messages: int, window: int) -> None:
        keys = (f"{name}{number}" for number in range(messages))
        self._left = [START + order(control_id=k, placer=k, filler=k, accession=k[-16:]) + END for k in keys]
        self._window = window
        self._connection = socket.create_connection(("127.0.0.1", port))

    def send_all(self) -> None:
        """Raises ValueError for any answer but AA."""
        under_way, received = 0, b""
        with self._connection as connection:
            while self._left or under_way:
                batch = [self._left.pop() for _ in range(min(self._window - under_way, len(self._left)))]
                connection.sendall(b"".join(batch))
                under_way += len(batch)
                received += connection.recv(65_536)
                *answers, received = received.split(END)
                if any(b"\rMSA|AA|" not in answer for answer in answers):
                    raise ValueError("a message was not taken")
                under_way -= len(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000, help="for each row of the table")
    messages = parser.parse_args().messages
    with tempfile.TemporaryDirectory(prefix="bench-hl7-") as name:
        folder, port = Path(name), free_port()
        with opened(Settings(data_dir=folder)) as engine:
            migrate(engine)
        role = Role(folder / "hl7.log", {"data_dir": folder, "hl7_port": port}, name="hl7")
        role.start()
        try:
            wait_until(lambda: is_open(port), "the port is open", timeout_s=START_S)
            print(f"| connections | under way on each | messages/s | CPU of the role | {EXPECTED:.0f}/s |")
            print("|---|---|---|---|---|")
            for connections, window in WAYS:
                print(_row(role, port, connections, window, messages), flush=True)
        finally:
            role.end()


def _row(role: Role, port: int, connections: int, window: int, messages: int) -> str:
    run = f"{os.getpid() % 10_000}-{connections}-{window}-"
    each = messages // connections
    waiting = [Sender(port, f"{run}{number}-", each, window) for number in range(connections)]
    lock, before, began = threading.Lock(), _cpu_s(role), time.monotonic()

    def send() -> None:
        with lock:
            sender = waiting.pop()
        sender.send_all()

    in_threads(send, connections)
    took_s = time.monotonic() - began
    rate, cpu_ms = connections * each / took_s, (_cpu_s(role) - before) * 1000 / (connections * each)
    return f"| {connections} | {window} | {rate:.0f} | {cpu_ms:.2f} ms | {'yes' if rate >= EXPECTED else 'no'} |"


def _cpu_s(role: Role) -> float:
    return figures_of(role.process.pid).cpu_s if role.process else 0.0


if __name__ == "__main__":
    main()
