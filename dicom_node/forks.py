"""Processes forked from one that has imported what they need: once for all of them, in memory that they share.

That asks for a process without open connections and without threads that hold anything.
"""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Event, Thread

from setproctitle import setproctitle

from dicom_node.roles import STOP_SIGNALS, stop_on_signals

Work = Callable[[Event], int]

_fork = multiprocessing.get_context("fork")


class LifeLine:
    """A pipe that the parent holds open: it closes when the parent dies, however it dies, and its children end."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()

    def hold_on(self, orphaned: Callable[[], object]) -> None:
        """In a child: call this when the parent is gone."""
        os.close(self._write_end)
        Thread(target=self._wait, args=(orphaned,), daemon=True).start()

    def close(self) -> None:
        """In the parent, when it has no children any more."""
        os.close(self._read_end)
        os.close(self._write_end)

    def _wait(self, orphaned: Callable[[], object]) -> None:
        os.read(self._read_end, 1)
        orphaned()


def fork(name: str, life_line: LifeLine, work: Work, *, orphaned: Callable[[Event], object] = Event.set) -> BaseProcess:
    """Start a process of that name. Its exit status is what `work` returns.

    work: ends when the event is set, which SIGTERM and SIGINT do. orphaned: called when this process is gone.
    """
    gc.freeze()  # what is there stays: collecting it in a child would copy its memory
    process = _fork.Process(target=_be, name=name, args=(name, life_line, work, orphaned))
    with _signals_held():
        process.start()
    return process


def _be(name: str, life_line: LifeLine, work: Work, orphaned: Callable[[Event], object]) -> None:
    """What a child does."""
    setproctitle(name)
    stop = stop_on_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    life_line.hold_on(partial(orphaned, stop))
    try:
        status = work(stop)
    except Exception:  # noqa: BLE001  multiprocessing would print it, values and all; the hook gives places alone
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.exit(status)


@contextmanager
def _signals_held() -> Iterator[None]:
    """A signal to stop reaches a new child when it has its own handlers: by those of its parent it would be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
