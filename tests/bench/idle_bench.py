"""`make bench-idle`: what associations take that do nothing, how many can begin in a second, and the memory of each.

CPU and memory are those of the receiver's own process. Associations a second are counted at the senders, which take a
core themselves: what the receiver's CPU time would allow is given beside.
"""

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "system")]

from objects import CT, SentObject, make_objects  # noqa: E402  found by the line above
from process_figures import Figures, figures_of  # noqa: E402
from scp_role import Role  # noqa: E402
from sender import send_all, store  # noqa: E402
from wire import association_request  # noqa: E402

from dicom_node.config import Settings  # noqa: E402
from dicom_node.database import migrate, open_database  # noqa: E402

# Of the bench's receivers, which are called BENCH.
REQUEST = association_request((CT, ExplicitVRLittleEndian)).replace(b"CXRNODE", b"BENCH  ")
ACCEPTED = 2  # PDU type
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"
IDLE, ACTIVE = 200, 8
MEASURED_S = 10.0
QUIET_S = 3.0  # after an object
BEGINNERS = 4
LOOK_EVERY_S = 0.01
# What the table is held against.
MOST_IDLE_CPU_PERCENT, LEAST_ASSOCIATIONS_PER_S = 2.0, 300.0
MOST_MB, MOST_ACTIVE_MB, MOST_IDLE_MB = 60.0, 1.0, 0.1


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as name, _receiving(Path(name)) as scp:
        films, slices = (make_objects(kind, Path(name) / kind) for kind in ("dx", "ct"))
        send_all(scp.port, films[:1], 1)
        rows = [_row("memory at rest, MB", _figures(scp).memory_mb, MOST_MB)]
        rows += _idle(scp, slices[:IDLE])
        rows += _beginning(scp)
        rows += _active(scp, films)
    print("| what | measured | expected |\n|---|---|---|\n" + "\n".join(rows))


@contextmanager
def _receiving(folder: Path) -> Iterator[Role]:
    settings = Settings(data_dir=folder / "node")
    engine = open_database(settings)
    migrate(engine)
    engine.dispose()
    many = {"max_associations": 400, "max_associations_per_peer": 400, "max_associations_per_s": 100_000}
    scp = Role(folder / "scp.log", {"data_dir": settings.data_dir, "ae_title": "BENCH", **many})
    scp.start()
    try:
        yield scp
    finally:
        scp.end()


def _idle(scp: Role, slices: list[SentObject]) -> list[str]:
    """Associations that never sent anything, and the same when each has sent an object."""
    before = _figures(scp)
    with ExitStack() as held:
        peers = [held.enter_context(_associated(scp.port)) for _ in slices]
        began = _figures(scp)
        threading.Event().wait(MEASURED_S)
        ended = _figures(scp)
        for peer, each in zip(peers, slices, strict=True):
            store(peer, each)
        threading.Event().wait(QUIET_S)
        stored = _figures(scp)
    percent = 100 * (ended.cpu_s - began.cpu_s) / MEASURED_S
    each_mb, later_mb = ((figures.memory_mb - before.memory_mb) / len(slices) for figures in (ended, stored))
    return [
        _row(f"CPU of {len(slices)} idle associations, %", percent, MOST_IDLE_CPU_PERCENT),
        _row("memory of an idle association, MB", each_mb, MOST_IDLE_MB),
        _row("the same when it has sent an object, MB", later_mb, MOST_IDLE_MB),
    ]


def _beginning(scp: Role) -> list[str]:
    until, counts = time.monotonic() + MEASURED_S, [0] * BEGINNERS

    def begin(number: int) -> None:
        while time.monotonic() < until:
            with _associated(scp.port) as peer:
                peer.sendall(RELEASE)
                peer.recv(4096)
            counts[number] += 1

    before = _figures(scp)
    threads = [threading.Thread(target=begin, args=(number,)) for number in range(BEGINNERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu_s = _figures(scp).cpu_s - before.cpu_s
    rate = sum(counts) / MEASURED_S
    allowed = f"{sum(counts) / max(cpu_s, 0.01):.0f} by its CPU time"
    return [f"| associations a second | {rate:.0f} ({allowed}) | at least {LEAST_ASSOCIATIONS_PER_S:.0f} |"]


def _active(scp: Role, objects: list[SentObject]) -> list[str]:
    before, most, stop = _figures(scp).memory_mb, 0.0, threading.Event()

    def look() -> None:
        nonlocal most
        while not stop.wait(LOOK_EVERY_S):
            most = max(most, _figures(scp).memory_mb)

    looking = threading.Thread(target=look)
    looking.start()
    send_all(scp.port, objects[1:], ACTIVE)
    stop.set()
    looking.join()
    return [_row(f"memory of an active association, of {ACTIVE}, MB", (most - before) / ACTIVE, MOST_ACTIVE_MB)]


def _associated(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), timeout=60)
    peer.sendall(REQUEST)
    if peer.recv(4096)[:1] != bytes([ACCEPTED]):
        raise RuntimeError("the association was refused")
    return peer


def _figures(scp: Role) -> Figures:
    if scp.process is None:
        raise RuntimeError("the receiver is not running")
    return figures_of(scp.process.pid)


def _row(what: str, measured: float, most: float) -> str:
    return f"| {what} | {measured:.2f} | at most {most:g} |"


if __name__ == "__main__":
    main()
