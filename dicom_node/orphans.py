"""What dead processes held goes back to its queue: by an expired lease, or at once where the dead one was alone.

A role that is the only one of its kind knows, when it starts, that nobody else works on a claimed row. All of a kind
share a lock for life; it is the only one if it can have that lock alone. The kernel or the database server frees the
lock of whoever dies.
"""

import fcntl
import threading
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.deliveries import study_of
from dicom_node.lifecycle import LeasedKind, Row, is_any_orphaned
from dicom_node.lifecycle import return_orphans as _return_orphans
from dicom_node.models import Delivery, Job, Pull
from dicom_node.settlement import settle_job
from dicom_node.sole import open_lock

_log = logs.get("orphans")
_LOOK_EVERY_S = 5.0
_ANY_LEASE = datetime.max.replace(tzinfo=UTC)


class Lock(Protocol):
    """Alone for a moment, then shared by all that do the same work, until they die."""

    def try_alone(self) -> bool: ...

    def share(self) -> None: ...

    def close(self) -> None: ...


def return_orphans(
    sessions: Sessions,
    settings: Settings,
    now: datetime,
    kind: LeasedKind,
    leased_before: datetime | None = None,
) -> None:
    """Put back claimed rows whose lease ended before `leased_before` (default: now)."""
    limit = _most_attempts(settings, kind)
    leased_before = leased_before or now
    if not is_any_orphaned(sessions, kind, leased_before):
        return
    with sessions.begin() as session:
        # A union of types is not a type variable: the function works for either.
        rows = _return_orphans(session, kind, now=now, leased_before=leased_before, max_attempts=limit)  # type: ignore[type-var]
        for row in rows:
            _log.warning("taken_back", state=row.state, attempt=row.attempts, **_named(session, row))
            if isinstance(row, Delivery):
                row.has_gone_out |= row.payload is not None
                settle_job(session, row, now)


def _most_attempts(settings: Settings, kind: LeasedKind) -> int:
    if kind is Pull:
        return Pull.MOST_ATTEMPTS
    return settings.max_job_attempts if kind is Job else settings.max_delivery_attempts


def _named(session: Session, row: Row) -> dict[str, object]:
    """For the log: which row it is, and of which study if of one."""
    study_id = row.study_id if isinstance(row, Job) else study_of(session, row) if isinstance(row, Delivery) else None
    of_study = {} if study_id is None else {"study": study_id}
    return {"kind": str(row.__tablename__), str(row.__tablename__): row.id, **of_study}


def take_over(engine: Engine, sessions: Sessions, settings: Settings, now: datetime, kind: LeasedKind) -> Lock:
    """If this process is the only one that works on such rows, put back all that are claimed.

    Keep the returned lock for the life of the process: while it lives, nobody else takes its rows for orphans.
    """
    name = str(kind.__tablename__)
    lock: Lock = _AdvisoryLock(engine, name) if engine.dialect.name == "postgresql" else _FileLock(settings, name)
    if lock.try_alone():
        return_orphans(sessions, settings, now, kind, _ANY_LEASE)
    lock.share()
    return lock


class _FileLock:
    def __init__(self, settings: Settings, name: str) -> None:
        self._file = open_lock(settings.data_dir / f"{name}.lock")

    def try_alone(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def share(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def close(self) -> None:
        self._file.close()


class _AdvisoryLock:
    """Held by a session of its own; the server frees it when the session ends, and forgets it when it restarts."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._key = zlib.crc32(name.encode())
        self._connection = self._connect()
        self._using = threading.Lock()  # the connection
        self._is_closed = threading.Event()

    def try_alone(self) -> bool:
        self._is_alone = bool(self._call("pg_try_advisory_lock"))
        return self._is_alone

    def share(self) -> None:
        self._call("pg_advisory_lock_shared")  # waits for whoever is alone at this moment, if it is not us
        if self._is_alone:
            self._call("pg_advisory_unlock")
        threading.Thread(target=self._hold, name="advisory-lock", daemon=True).start()

    def close(self) -> None:
        self._is_closed.set()
        with self._using:
            with suppress(SQLAlchemyError):  # the database is away: the lock is gone with it
                self._call("pg_advisory_unlock_shared")  # the server notices a closed connection only a moment later
            self._connection.close()

    def _hold(self) -> None:
        while not self._is_closed.wait(_LOOK_EVERY_S):
            with suppress(SQLAlchemyError):  # the database is away: until the next look
                if not self._is_held():
                    self._take_again()

    def _is_held(self) -> bool:
        with self._using, suppress(SQLAlchemyError):
            self._connection.execute(text("SELECT 1"))
            return True
        return False

    def _take_again(self) -> None:
        """Whoever closes the lock meanwhile does not wait for the server."""
        fresh = self._connect()
        try:
            self._call("pg_advisory_lock_shared", fresh)
        except SQLAlchemyError:
            fresh.close()
            raise
        with self._using:
            lost, self._connection = self._connection, fresh
            lost.close()
            if self._is_closed.is_set():
                fresh.close()

    def _connect(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # from the pool: the lock must end with it
        return connection

    def _call(self, function: str, connection: Connection | None = None) -> bool | None:
        connection = connection or self._connection
        return connection.execute(text(f"SELECT {function}(:key)"), {"key": self._key}).scalar()
