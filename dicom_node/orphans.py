"""What dead processes held goes back to its queue: by an expired lease, or at once where the dead one was alone.

A role that is the only one of its kind knows, when it starts, that nobody else works on a claimed row. It is the only
one if it gets the role's lock, which the kernel or the database server frees when its holder dies.
"""

import fcntl
import zlib
from datetime import UTC, datetime
from typing import IO

from sqlalchemy import Connection, Engine, text

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import return_orphans as _return_orphans
from dicom_node.models import Delivery, Job
from dicom_node.settlement import settle_job

_log = logs.get("orphans")
_ANY_LEASE = datetime.max.replace(tzinfo=UTC)

Lock = IO[str] | Connection


def return_orphans(
    sessions: Sessions,
    settings: Settings,
    now: datetime,
    kind: type[Job] | type[Delivery],
    leased_before: datetime | None = None,
) -> None:
    """Put back claimed rows whose lease ended before `leased_before` (default: now)."""
    limit = settings.max_job_attempts if kind is Job else settings.max_delivery_attempts
    leased_before = leased_before or now
    with sessions.begin() as session:
        # A union of types is not a type variable: the function works for either.
        rows = _return_orphans(session, kind, now=now, leased_before=leased_before, max_attempts=limit)  # type: ignore[type-var]
        for row in rows:
            _log.warning("taken_back", kind=str(kind.__tablename__), state=row.state, attempt=row.attempts)
            if isinstance(row, Delivery):
                settle_job(session, row, now)


def take_over(
    engine: Engine, sessions: Sessions, settings: Settings, now: datetime, kind: type[Job] | type[Delivery]
) -> Lock | None:
    """If this process is the only one that works on such rows, put back all that are claimed.

    Keep the returned lock for the life of the process. None: others are at work, and leases decide.
    """
    lock = _try_lock(engine, settings, str(kind.__tablename__))
    if lock is not None:
        return_orphans(sessions, settings, now, kind, _ANY_LEASE)
    return lock


def _try_lock(engine: Engine, settings: Settings, name: str) -> Lock | None:
    if engine.dialect.name == "postgresql":
        return _try_advisory_lock(engine, name)
    file = (settings.data_dir / f"{name}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _try_advisory_lock(engine: Engine, name: str) -> Lock | None:
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    got = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": zlib.crc32(name.encode())}).scalar()
    if got:
        return connection
    connection.close()
    return None
