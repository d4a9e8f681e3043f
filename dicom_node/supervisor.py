"""`dicom-node up`: the roles as children on one machine, each restarted when it dies.

A role is a fork of this process, which imports the roles' code: once for all of them, in memory that they share. That
asks for a process without threads and without open connections, and this one has none.
"""

import gc
import multiprocessing
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess

from setproctitle import setproctitle

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.database import migrate, open_database
from dicom_node.roles import ROLES, STOP_SIGNALS, play, roles_of, stop_on_signals

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_HEALTHY_AFTER_S = 5.0
_LOOK_EVERY_S = 0.1
_TERM_TIMEOUT_S = 35.0

_fork = multiprocessing.get_context("fork")
_log = logs.get("supervisor")


class LifeLine:
    """A pipe that the supervisor holds open: it closes when the supervisor dies, however it dies, and the roles end."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def hold_on(self, stop: threading.Event) -> None:
        """In a role: set the event when the supervisor is gone."""
        os.close(self._write_end)
        threading.Thread(target=self._wait, args=(stop,), daemon=True).start()

    def _wait(self, stop: threading.Event) -> None:
        os.read(self._read_end, 1)
        stop.set()


@dataclass
class Child:
    """A role's process and when it may be started again."""

    role: str
    settings: Settings
    life_line: LifeLine
    process: ForkProcess | None = None
    started_at: float = 0.0
    wait_s: float = _FIRST_WAIT_S
    not_before: float = field(default=0.0)

    def start(self) -> None:
        pkgutil.resolve_name(ROLES[self.role])
        gc.freeze()  # what is there stays: collecting it in a child would copy its memory
        self.process = _fork.Process(target=_be, args=(self.role, self.settings, self.life_line))
        with _signals_held():
            self.process.start()
        self.started_at = time.monotonic()
        _log.info("role_started", kind=self.role, pid=self.process.pid)

    def look(self) -> None:
        """Start it, or note its death and plan the restart: at once at first, later with growing waits."""
        if self.process is None:
            if time.monotonic() >= self.not_before:
                self.start()
            return
        exit_code = self.process.exitcode
        if exit_code is None:
            return
        if time.monotonic() - self.started_at > _HEALTHY_AFTER_S:
            self.wait_s = _FIRST_WAIT_S
        _log.error("role_died", kind=self.role, exit_code=exit_code, due_in_s=self.wait_s)
        self.process, self.not_before = None, time.monotonic() + self.wait_s
        self.wait_s = min(self.wait_s * 2, _LONGEST_WAIT_S)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def wait(self) -> None:
        if self.process is None:
            return
        self.process.join(_TERM_TIMEOUT_S)
        if self.process.exitcode is None:
            _log.error("role_killed", kind=self.role)
            self.process.kill()
            self.process.join()


def up(settings: Settings) -> int:
    """Migrate, start every role, keep them alive until SIGTERM or SIGINT. Returns the exit status."""
    logs.configure("supervisor", settings.log_level)
    stop = stop_on_signals()
    engine = open_database(settings)
    migrate(engine)
    engine.dispose()
    life_line = LifeLine()
    children = [Child(role, settings, life_line) for role in roles_of(settings)]
    while not stop.is_set():
        for child in children:
            child.look()
        stop.wait(_LOOK_EVERY_S)
    for child in children:
        child.stop()
    for child in children:
        child.wait()
    return 0


def _be(role: str, settings: Settings, life_line: LifeLine) -> None:
    """What a child does."""
    setproctitle(f"dicom-node {role}")
    stop = stop_on_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    life_line.hold_on(stop)
    sys.exit(play(role, settings, stop))


@contextmanager
def _signals_held() -> Iterator[None]:
    """A signal to stop reaches a new child when it has its own handlers: by those of its parent it would be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
