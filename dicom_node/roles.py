"""The roles by name. Each is one process; a command imports the code of the roles that it plays and no other."""

import os
import pkgutil
import signal
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

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logs.get("roles")


def roles_of(settings: Settings) -> tuple[str, ...]:
    """The roles that have something to do under these settings."""
    is_idle = {"puller": not settings.sources, "hl7": settings.hl7_port is None}
    return tuple(role for role in ROLES if not is_idle.get(role))


def play(role: str, settings: Settings, stop: threading.Event) -> int:
    """Run a role until told to stop. Returns the exit status."""
    logs.configure(role, settings.log_level)
    try:
        cast(Run, pkgutil.resolve_name(ROLES[role]))(settings, stop)
    except NodeError as error:
        _log.critical("role_cannot_run", reason=str(error))
        return 1
    _log.info("role_stopped")
    return 0


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set. For the main thread; the last call counts."""
    stop, (noted, note) = threading.Event(), os.pipe()
    os.set_blocking(note, False)

    def wait() -> None:
        while os.read(noted, 1)[0] not in STOP_SIGNALS:
            pass
        stop.set()

    # Not by handlers: a main thread that is about to wait for the event when the signal comes would never run them.
    signal.set_wakeup_fd(note, warn_on_full_buffer=False)
    for number in STOP_SIGNALS:
        signal.signal(number, _ignore)
    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal is noted before this is called."""
