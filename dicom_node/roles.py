"""The roles by name. Each is one process; a role's code is imported only in the process that plays it."""

import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import cast

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.errors import NodeError

Run = Callable[[Settings, threading.Event], None]

# The core knows the arms by these names only. The worker comes first: its model takes longest to load.
ROLES = {
    "worker": "workers.run:run",
    "scp": "dicom_node.receive.scp:run",
    "relay": "integration.relay:run",
    "web": "dicom_node.web.app:run",
    "sweep": "dicom_node.receive.sweep:run",
    "puller": "dicom_node.pull.run:run",
    "hl7": "integration.inbound:run",
}

_log = logs.get("roles")


def roles_of(settings: Settings) -> tuple[str, ...]:
    """The roles that have something to do under these settings."""
    is_idle = {"puller": not settings.sources, "hl7": settings.hl7_port is None}
    return tuple(role for role in ROLES if not is_idle.get(role))


def play(role: str, settings: Settings, *, supervised: bool) -> int:
    """Run a role until SIGTERM, SIGINT or, when supervised, the supervisor's death. Returns the exit status."""
    logs.configure(role, settings.log_level)
    stop = threading.Event()
    stop_on_signals(stop)
    if supervised:
        threading.Thread(target=_stop_with_supervisor, args=(stop,), daemon=True).start()
    try:
        cast(Run, pkgutil.resolve_name(ROLES[role]))(settings, stop)
    except NodeError as error:
        _log.critical("role_cannot_run", reason=str(error))
        return 1
    _log.info("role_stopped")
    return 0


def stop_on_signals(stop: threading.Event) -> None:
    """Let SIGTERM and SIGINT set the event."""

    def on_signal(number: int, _: FrameType | None) -> None:
        # Not here: the main thread may be interrupted while it holds the event's lock, and would wait for itself.
        threading.Thread(target=stop.set, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def _stop_with_supervisor(stop: threading.Event) -> None:
    # The supervisor holds the other end of our stdin; it closes when the supervisor dies, however it dies. Not by
    # sys.stdin: its lock, held by a reading thread, keeps the interpreter from shutting down.
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()
