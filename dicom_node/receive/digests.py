"""SHA-256 of what was received, made while nothing is received: a digest costs as much as receiving does.

It proves later that a file is what came: before commitment is given, and before a file is deleted. So that there is
room to be made also where somebody always sends, it is not waited for longer than an hour.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import cast

from sqlalchemy import Table, bindparam, inspect, select, update
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import logs
from dicom_node.models import Instance
from dicom_node.receive.intake import Receiver
from dicom_node.storage import StoredFile

QUIET_S = 2.0  # the objects of one sender follow each other faster than that
_LONGEST_WAIT = timedelta(hours=1)
_BATCH = 50  # digests that are written in one transaction

_INSTANCE = cast(Table, inspect(Instance).local_table)
_NEXT = (
    select(_INSTANCE.c.id, _INSTANCE.c.received_at, _INSTANCE.c.path, _INSTANCE.c.size_bytes)
    .where(_INSTANCE.c.sha256 == "", _INSTANCE.c.id > bindparam("after"))
    .order_by(_INSTANCE.c.id)
    .limit(_BATCH)
)
_WRITE = update(_INSTANCE).where(_INSTANCE.c.id == bindparam("of")).values(sha256=bindparam("digest"))

_log = logs.get("digests")


class Digests:
    """Fills the digests in. A file that cannot be read is passed over until the next start."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._after = 0

    def fill(self, stop: threading.Event, beat: Callable[[], object] = lambda: None) -> None:
        """Give every row without a digest one, oldest first; young ones until an object comes in.

        beat: called before each.
        """
        made = self._made(stop, beat)
        while batch := list(islice(made, _BATCH)):
            try:
                with self._receiver.sessions.begin() as session:
                    session.connection().execute(_WRITE, batch)
            except SQLAlchemyError:
                self._after = min(int(each["of"]) for each in batch) - 1  # made anew when the database is back
                raise

    def _made(self, stop: threading.Event, beat: Callable[[], object]) -> Iterator[dict[str, int | str]]:
        while files := self._next():
            for instance_id, received_at, path, size_bytes in files:
                if stop.is_set() or not self._is_time_for(received_at):
                    return
                beat()
                self._after = instance_id
                try:
                    digest = self._receiver.store.sha256(StoredFile(path, size_bytes))
                except OSError as error:
                    _log.error("file_unreadable", instance=instance_id, error=type(error).__name__)
                else:
                    yield {"of": instance_id, "digest": digest}

    def _is_time_for(self, received_at: datetime) -> bool:
        is_quiet = self._receiver.store.quiet_s() >= QUIET_S
        return is_quiet or received_at < self._receiver.clock() - _LONGEST_WAIT

    def _next(self) -> Sequence[tuple[int, datetime, str, int]]:
        with self._receiver.sessions() as session:
            rows = session.connection().execute(_NEXT, {"after": self._after})
            return [(instance_id, at, path, size_bytes) for instance_id, at, path, size_bytes in rows]
