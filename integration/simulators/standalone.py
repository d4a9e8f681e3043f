"""Running a simulated peer as a program of its own."""

import signal
import threading
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
    is_over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    with peer as listener:
        print(f"listening on {listener.host}:{listener.port}", flush=True)
        is_over.wait()
