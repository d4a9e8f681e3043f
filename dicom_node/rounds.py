"""How a role works: one round after the other until it is told to stop; a database that is away is waited for."""

import threading
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from dicom_node import logs

_log = logs.get("rounds")
_WAIT_FOR_DATABASE_S = 2.0


def every(interval_s: float, stop: threading.Event, work: Callable[[], object]) -> None:
    """Call `work` until stopped. While it returns True there is more to do and it is called again at once."""
    while not stop.is_set():
        try:
            more = work() is True
        except DBAPIError as error:
            _log.error("database_away", error=type(error.orig).__name__, trace=logs.places(error))
            more = False
            stop.wait(_WAIT_FOR_DATABASE_S)
        if not more:
            stop.wait(interval_s)
