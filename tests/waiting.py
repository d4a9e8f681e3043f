"""Waiting for a condition, never for a time."""

import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import pytest

LONG_S = 20.0  # only ever waited for when something is broken
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
# Each of two test processes its own: a port may be bound long after it was looked for.
_SERVER_PORTS = range(15_000 + 8_500 * _WORKER, 23_500 + 8_500 * _WORKER)
_handed_out: set[int] = set()


def wait_until(is_true: Callable[[], object], what: str, timeout_s: float = LONG_S) -> None:
    """Look every 10 ms; fail when the time is up."""
    deadline, pause = monotonic() + timeout_s, threading.Event()
    while not is_true():
        if monotonic() > deadline:
            pytest.fail(f"not within {timeout_s:g} s: {what}")
        pause.wait(0.01)


def in_threads(work: Callable[[], object], threads: int) -> None:
    """Do the same work in several threads, let go at the same time; the first error is raised here."""
    start, errors = threading.Barrier(threads), []

    def body() -> None:
        start.wait(LONG_S)
        try:
            work()
        except Exception as error:  # noqa: BLE001  raised again below
            errors.append(error)

    started = [threading.Thread(target=body) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(LONG_S)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot bind port 0.

    Below the ports that the system gives to clients: one that keeps trying to reach a killed server would sooner or
    later be given the server's own port, be connected with itself and keep the server from coming back.
    """
    while True:
        port = secrets.choice(_SERVER_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in _handed_out:
                _handed_out.add(port)
                return port
