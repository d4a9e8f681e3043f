"""`dicom-node up`: the roles as children on one machine, each a fork of this process, each restarted when it dies."""

import pkgutil
import time
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Event

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.database import make_folder, migrate, opened
from dicom_node.forks import LifeLine, fork
from dicom_node.roles import ROLES, play, roles_of, stop_on_signals
from dicom_node.sole import alone_on

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_HEALTHY_AFTER_S = 5.0
_LOOK_EVERY_S = 0.1
_TERM_TIMEOUT_S = 35.0

_log = logs.get("supervisor")


@dataclass
class Child:
    """A role's process and when it may be started again."""

    role: str
    settings: Settings
    life_line: LifeLine
    process: BaseProcess | None = None
    started_at: float = 0.0
    wait_s: float = _FIRST_WAIT_S
    not_before: float = field(default=0.0)

    def start(self) -> None:
        pkgutil.resolve_name(ROLES[self.role])
        self.process = fork(f"dicom-node {self.role}", self.life_line, partial(play, self.role, self.settings))
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
    """Migrate, start every role, keep them alive until SIGTERM or SIGINT. Returns the exit status.

    Raises Permanent if a node runs on the data folder.
    """
    logs.configure("supervisor", settings.log_level)
    stop = stop_on_signals()
    folder = settings.data_dir.absolute()
    make_folder(folder)
    with alone_on(folder):
        with opened(settings) as engine:
            migrate(engine)
        _keep_alive(settings, stop)
    return 0


def _keep_alive(settings: Settings, stop: Event) -> None:
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
