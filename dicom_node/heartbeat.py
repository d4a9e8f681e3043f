"""Roles say in a table that they are well; whoever looks there sees who is silent, who hangs and who lacks what.

A table, not files: the database is the one thing that all roles reach. In compose none can write its root file system,
most cannot write the data folder, and none sees the /tmp of another.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from socket import gethostname

from sqlalchemy import ColumnElement
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlmodel import col, delete, or_

from dicom_node import logs
from dicom_node.clock import CLOCKS_DIFFER, Clock, utc_now
from dicom_node.database import Sessions
from dicom_node.models import Heartbeat
from dicom_node.probe import Answer, answering

_BEAT_EVERY_S = 10.0
SILENT_AFTER_S = 45.0  # a beat may wait for 30 s until another process has written to SQLite
_FORGOTTEN_AFTER = timedelta(hours=1)  # a container that was killed and made anew has another host name
_LOOP_TURNS_EVERY_S, _LONGEST_TURN_S = 1.0, 30.0
_LAST_WORD_S = 3.0

_log = logs.get("heartbeat")


class Pulse:
    """How a role's pieces of work are: each comes round, and says how long it may stay away. For several threads."""

    def __init__(self, lacks: Callable[[], str] = lambda: "", timer: Callable[[], float] = time.monotonic) -> None:
        """lacks: what the role cannot work without and has not, as a sentence; empty if nothing."""
        self._lacks = lacks
        self._timer = timer
        self._expected: dict[str, float] = {}

    def beat(self, name: str, *, longest_s: float) -> None:
        """This piece of work has come round, and will again within so many seconds."""
        self._expected[name] = self._timer() + longest_s

    def fault(self) -> str:
        """What is wrong, as a sentence; empty if nothing."""
        now = self._timer()
        late = sorted(name for name, expected in self._expected.copy().items() if expected < now)
        return self._lacks() or (f"{', '.join(late)} did not come round in time" if late else "")


@contextmanager
def beating(role: str, sessions: Sessions, pulse: Pulse, clock: Clock = utc_now) -> Iterator[None]:
    """Write down how the role is, every ten seconds, from a thread of its own, and say so to who asks on this machine.

    A role that ends in good order takes its row away; that of one that broke stays and falls silent.
    """
    row, over, leave = _Row(role, sessions, clock), threading.Event(), threading.Event()

    def live() -> None:
        row.write(pulse.fault())
        while not over.wait(_BEAT_EVERY_S):
            row.write(pulse.fault())
        if leave.is_set():
            row.delete()

    thread = threading.Thread(target=live, name="heartbeat", daemon=True)
    thread.start()
    try:
        with answering(role, lambda: row.answer(pulse.fault())):
            yield
        leave.set()
    finally:
        over.set()
        thread.join(_LAST_WORD_S)  # not for ever: the database may be away


@asynccontextmanager
async def beating_loop(role: str, sessions: Sessions, clock: Clock = utc_now) -> AsyncIterator[None]:
    """The same for a role that is an event loop: it is well while the loop turns."""
    pulse = Pulse()

    async def turn() -> None:
        while True:
            pulse.beat("event loop", longest_s=_LONGEST_TURN_S)
            await asyncio.sleep(_LOOP_TURNS_EVERY_S)

    with beating(role, sessions, pulse, clock):
        turning = asyncio.create_task(turn())
        try:
            yield
        finally:
            turning.cancel()


class _Row:
    """Of one role on this host. A database that is away is no reason to end: then the row falls silent."""

    def __init__(self, role: str, sessions: Sessions, clock: Clock) -> None:
        self._key = {"role": role, "host": gethostname()}
        self._sessions = sessions
        self._clock = clock
        self._written_at = -math.inf  # by `time.monotonic`
        self._last: tuple[datetime, str] | None = None  # what was written then

    def answer(self, fault: str) -> Answer:
        """What a reader of the row would say, before it is read."""
        has_database = time.monotonic() - self._written_at <= SILENT_AFTER_S
        if has_database and not fault:
            return Answer(True, f"{self._key['role']}: well.")
        why = fault or "it cannot write to the database"
        return Answer(False, f"{self._key['role']} on {self._key['host']}: {why}.")

    def write(self, fault: str) -> None:
        """While there is a fault, the time of the row stands still."""
        now = self._clock()
        if fault:
            _log.warning("role_unwell", reason=fault)
        self._try(lambda: self._put(now, fault))

    def delete(self) -> None:
        self._try(self._remove)

    def _put(self, now: datetime, fault: str) -> None:
        with self._sessions.begin() as session:
            at = col(Heartbeat.well_at)
            is_forgotten = or_(at < now - _FORGOTTEN_AFTER, at > now + CLOCKS_DIFFER)
            session.exec(delete(Heartbeat).where(is_forgotten, *self._others()))
            row = session.get(Heartbeat, self._key) or Heartbeat(**self._key, well_at=now)
            row.well_at, row.fault = row.well_at if fault else now, fault
            session.add(row)
            self._last = row.well_at, row.fault
        self._written_at = time.monotonic()

    def _remove(self) -> None:
        with self._sessions.begin() as session:
            row = session.get(Heartbeat, self._key)
            if row is not None and (row.well_at, row.fault) == self._last:  # else of another process, which lives on
                session.delete(row)

    def _others(self) -> tuple[ColumnElement[bool], ...]:
        return (col(Heartbeat.role) == self._key["role"], col(Heartbeat.host) != self._key["host"])

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (DBAPIError, TimeoutError) as error:
            _log.debug("heartbeat_not_written", error=type(error).__name__)
