"""Running a simulated peer as a program of its own."""

import signal
from argparse import ArgumentParser
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Listener(Protocol):
    """A simulated peer that is up: it says where it listens."""

    host: str
    port: int


def arguments(description: str, default_port: int) -> ArgumentParser:
    """The options that all simulated peers have."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=default_port, help="port to listen on; 0: any free one")
    parser.add_argument("--dir", type=Path, required=True, help="folder for what comes in")
    return parser


def run_until_terminated(peer: AbstractContextManager[Listener]) -> None:
    """Say where the peer listens, then serve until SIGTERM or Ctrl-C."""
    ends = {signal.SIGTERM, signal.SIGINT}
    # Blocked and waited for, not handled: a handler that sets an Event can interrupt, and lock, the waiting for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with peer as listener:
        print(f"listening on {listener.host}:{listener.port}", flush=True)
        signal.sigwait(ends)
