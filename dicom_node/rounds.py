"""How a role works: one round after the other until it is told to stop; a database that is away is waited for."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, TimeoutError

from dicom_node import logs
from dicom_node.database import AWAY

_log = logs.get("rounds")
_WAIT_FOR_DATABASE_S = 2.0


T = TypeVar("T")


def persist(stop: threading.Event, write: Callable[[], T]) -> T:
    """Write down how a piece of work ended, however long the database is away; otherwise its row waits for its lease.

    Raises what the database raised when told to stop meanwhile.
    """
    while True:
        try:
            return write()
        except AWAY as error:
            _log.error("database_away", error=type(error).__name__)
            if stop.wait(_WAIT_FOR_DATABASE_S):
                raise


def every(
    interval_s: float, stop: threading.Event, work: Callable[[], object], beat: Callable[[], object] = lambda: None
) -> None:
    """Call `work` until stopped. While it returns True there is more to do and it is called again at once.

    beat: called before each, for whoever watches that the rounds go on.
    """
    while not stop.is_set():
        beat()
        try:
            more = work() is True
        except (DBAPIError, TimeoutError) as error:
            _log.error("database_away", error=type(error).__name__, trace=logs.places(error))
            more = False
            stop.wait(_WAIT_FOR_DATABASE_S)
        if not more:
            stop.wait(interval_s)


def together(
    interval_s: float,
    stop: threading.Event,
    works: Mapping[str, Callable[[], object]],
    beat: Callable[[str], object] = lambda _: None,
) -> None:
    """Go several rounds at once, each in a thread of its name, until stopped.

    If one breaks, all stop and its error is raised: a role that works in part would look as if it were well.
    beat: called with its name before each round.
    """

    def go(name: str) -> None:
        threading.current_thread().name = name
        try:
            every(interval_s, stop, works[name], partial(beat, name))
        finally:
            stop.set()

    with ThreadPoolExecutor(max_workers=max(1, len(works))) as pool:
        rounds = [pool.submit(go, name) for name in works]
        stop.wait()
    for each in rounds:
        each.result()
