"""What harm strangers can do: nothing is held past its time-out, nothing leaks, others are served.

Quick here; `make attack` (ATTACK=long) cuts off at every byte, waits for the time-outs and measures what others get.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attackers import NONSENSE, NONSENSE_WITHIN, OBJECT, REQUEST, cut_off, is_hung_up, say, trickle
from process_figures import Figures, figures_of
from scp_role import Role
from senders import Senders
from stored_files import unfinished_files
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import migrate, open_database

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

IS_LONG = os.environ.get("ATTACK") == "long"
long_only = pytest.mark.skipif(not IS_LONG, reason="long: make attack")
NETWORK_TIMEOUT_S, REQUEST_TIMEOUT_S = 3.0, 30.0  # of silence on an association; of not asking for one
LATE_S = 10.0  # machines are slow
STEP = 1 if IS_LONG else 37  # bytes
ROUNDS = 3
SPARE = 4  # the database's connections come and go
GROWTH_MB = 6.0  # in rounds of connections, once the allocator has what it needs
SILENT = 50
MEASURED_S, OTHERS_GET = 10.0, 0.8


class Victim:
    def __init__(self, scp: Role) -> None:
        self.port = scp.port
        assert scp.process is not None
        self._pid = scp.process.pid
        self.serve_one()
        self.before = self.figures()

    def figures(self) -> Figures:
        return figures_of(self._pid)

    def serve_one(self) -> None:
        with Senders(self.port, count=1, series=time.monotonic_ns() % 1_000_000, sizes=(1_000,)) as senders:
            senders.receive(1)
            senders.pause()

    def wait_for_peace(self, timeout_s: float) -> None:
        """Of dozens of connections no descriptor and no thread is left."""

        def is_quiet() -> bool:
            now, before = self.figures(), self.before
            return now.descriptors <= before.descriptors + SPARE and now.threads <= before.threads + SPARE

        wait_until(is_quiet, f"as before: {self.before}, {self.figures()}", timeout_s=timeout_s)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with _attacked(tmp_path_factory.mktemp("victim"), NETWORK_TIMEOUT_S) as victim:
        yield victim


@pytest.fixture
def patient_victim(tmp_path: Path) -> Iterator[Victim]:
    """On which idle associations stay."""
    with _attacked(tmp_path, 600) as victim:
        yield victim


@contextmanager
def _attacked(folder: Path, network_timeout_s: float) -> Iterator[Victim]:
    settings = Settings(data_dir=folder / "node")
    engine = open_database(settings)
    migrate(engine)
    engine.dispose()
    many = {"max_associations": 400, "max_associations_per_peer": 400, "max_associations_per_s": 10_000}
    own = {"data_dir": settings.data_dir, "min_free_bytes": 0, "network_timeout_s": network_timeout_s, **many}
    scp = Role(folder / "scp.log", own)
    scp.start()
    try:
        yield Victim(scp)
    finally:
        scp.end()
    log = (folder / "scp.log").read_text(encoding="utf-8")
    assert not [word for word in ("uncaught_exception", "Traceback", "C001", "not_started") if word in log]
    assert not unfinished_files(settings.instances_dir)


def test_an_association_broken_off_at_any_byte_leaves_nothing(victim: Victim) -> None:
    memory_mb = []
    for _ in range(ROUNDS):
        for number, at in enumerate(range(0, len(REQUEST) + len(OBJECT) + 1, STEP)):
            for how in ("rst", "fin", "abort") if IS_LONG else (("rst", "fin", "abort")[number % 3],):
                cut_off(victim.port, at, how)
        victim.wait_for_peace(NETWORK_TIMEOUT_S + LATE_S)
        memory_mb.append(victim.figures().memory_mb)
    print("MB after each round:", *(f"{each:.1f}" for each in memory_mb))
    assert memory_mb[-1] <= memory_mb[0] + GROWTH_MB
    victim.serve_one()


def test_nonsense_is_hung_up_on_at_once_and_takes_no_memory(victim: Victim) -> None:
    before_mb = victim.figures().memory_mb
    for within, talks in ((False, NONSENSE), (True, NONSENSE_WITHIN)):
        for name, words in talks.items():
            with say(victim.port, words, within=within) as wire:
                assert is_hung_up(wire, LATE_S), name
    assert victim.figures().memory_mb <= before_mb + GROWTH_MB
    victim.wait_for_peace(LATE_S)


def test_half_a_pdu_holds_a_place_no_longer_than_the_time_out(victim: Victim) -> None:
    with ExitStack() as held:
        halves = [held.enter_context(say(victim.port, OBJECT[:at], within=True)) for at in (3, 40, 200, 400)]
        began = time.monotonic()
        assert all(is_hung_up(each, NETWORK_TIMEOUT_S + LATE_S) for each in halves)
        assert time.monotonic() - began >= NETWORK_TIMEOUT_S - 1
    victim.wait_for_peace(LATE_S)


@long_only
def test_who_asks_for_nothing_is_hung_up_on_and_hinders_nobody(victim: Victim) -> None:
    with ExitStack() as held:
        silent = [held.enter_context(say(victim.port, REQUEST[: number % 5])) for number in range(SILENT)]
        victim.serve_one()
        assert all(is_hung_up(each, REQUEST_TIMEOUT_S + LATE_S) for each in silent)
    victim.wait_for_peace(LATE_S)


@long_only
@pytest.mark.parametrize("within", [False, True], ids=["asking", "sending"])
def test_one_byte_a_second_holds_a_place_no_longer_than_the_time_out(victim: Victim, within: bool) -> None:
    """A sender that is so slow gives nothing; it must not keep a place for a day."""
    stop = threading.Event()
    patience = threading.Timer(3 * REQUEST_TIMEOUT_S, stop.set)
    patience.start()
    held_s = trickle(victim.port, OBJECT if within else REQUEST, stop, within=within)
    patience.cancel()
    assert held_s <= REQUEST_TIMEOUT_S + LATE_S
    victim.wait_for_peace(LATE_S)


@long_only
def test_others_are_served_while_everything_goes_on(patient_victim: Victim) -> None:
    """At 80 % of the rate that they have alone; needs a quiet machine."""
    victim, alone = patient_victim, _rate(patient_victim.port)
    attackers = [sys.executable, str(Path(__file__).with_name("attackers.py")), str(victim.port), "600"]
    with subprocess.Popen(attackers, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"attacking\n"
        attacked, during = _rate(victim.port), victim.figures()
        process.kill()
    victim.wait_for_peace(REQUEST_TIMEOUT_S + LATE_S)
    alone = (alone + _rate(victim.port)) / 2
    print(
        f"{alone:.1f} objects/s alone, {attacked:.1f} attacked ({attacked / alone:.0%}): {during}, {victim.figures()}"
    )
    assert attacked >= OTHERS_GET * alone


def _rate(port: int) -> float:
    """Objects of 0.5 MB a second, on two associations."""
    series = time.monotonic_ns() % 1_000_000
    with Senders(port, count=2, series=series, sizes=(500_000,)) as senders:
        senders.go()
        began = time.monotonic()
        threading.Event().wait(MEASURED_S)
        rate = len(senders.acknowledged) / (time.monotonic() - began)
        senders.pause()
    return rate
