"""The database: SQLite (WAL) on one machine, PostgreSQL in production; the same tables, the same promise.

A commit is on disk when it returns: SQLite by synchronous=FULL, PostgreSQL by its default synchronous_commit.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, TimeoutError
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.setting_sources import origin

if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA_REVISION = "0015"  # the newest in migrations/versions
# What a database raises that is away, restarting, out of disk or read-only. Its text holds the values of the statement.
AWAY = (OperationalError, InterfaceError, InternalError, TimeoutError)
_BUSY_TIMEOUT_S = 30
_READS = "reads"  # an execution option: the transaction changes nothing
_POOL = {"pool_size": 20, "max_overflow": 200}  # more than associations and threads: a role never waits for itself
_MIGRATING = 0x6D696772  # an advisory lock's key; those of `orphans` are checksums of tables' names
_LONG_LOG_BYTES = 6_500_000  # SQLite begins its write-ahead log anew after 1,000 pages, and keeps 500 in memory


def open_database(settings: Settings) -> Engine:
    """Open the database; the schema is not touched. Raises Permanent if the folder of SQLite's file cannot be made."""
    url = settings.sqlalchemy_url
    if not url.startswith("sqlite"):
        engine = create_engine(url, pool_pre_ping=True, **_POOL)
        event.listen(engine, "connect", _prepare_postgresql)
        return engine
    make_folder(settings.data_dir.absolute())
    # The connection used last comes first: it remembers the file's pages for as long as no other writes.
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S}, pool_use_lifo=True, **_POOL)
    _keep_from_others(Path(engine.url.database or ""))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def make_folder(data_dir: Path) -> None:
    """Raise Permanent if it cannot be made, or not be written."""
    fix = f"give uid {os.getuid()} the right, or set data_dir to another folder"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Permanent(f"data_dir {data_dir} cannot be made ({error.strerror}): {fix}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise Permanent(f"data_dir {data_dir} cannot be written: {fix}")


def in_words(url: URL) -> str:
    """Which database that is: SQLite's file, or the URL without its password."""
    return url.database or "" if url.drivername == "sqlite" else url.render_as_string()


def open_current(settings: Settings) -> Engine:
    """Open the database. Raises Permanent also where its schema is not this program's."""
    engine = open_database(settings)
    require_current_schema(engine)
    return engine


@contextmanager
def opened(settings: Settings) -> Iterator[Engine]:
    """The database while the block runs, for a command that ends."""
    engine = open_database(settings)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def opened_current(settings: Settings) -> Iterator[Engine]:
    """As `opened`, but raises Permanent where the schema is not this program's."""
    with opened(settings) as engine:
        require_current_schema(engine)
        yield engine


class Sessions(sessionmaker[Session]):
    """`with sessions.begin() as session`: one move, one transaction. `with sessions() as session`: only to read.

    On SQLite, who only reads waits for no writer, and no writer waits for him.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, class_=Session, expire_on_commit=False)
        self._moves = sessionmaker(engine, class_=self.class_, expire_on_commit=False)
        self._reading = engine.execution_options(**{_READS: True})
        self._engine = engine

    def __call__(self, **options: Any) -> Session:
        return super().__call__(**{"bind": self._reading, **options})

    def begin(self) -> AbstractContextManager[Session]:
        return self._moves.begin()

    def transaction(self) -> AbstractContextManager[Connection]:
        """As `begin`, without the objects and their cost."""
        return self._engine.begin()


def lengthen_log(engine: Engine) -> None:
    """Make SQLite's write-ahead log as long as it gets: a commit that makes a file longer takes twice the time.

    What is written for it is never committed: the next commits write over it.
    """
    if engine.dialect.name != "sqlite":
        return
    with engine.connect() as connection, suppress(OperationalError):  # no room on the disk: then it gets longer slowly
        connection.exec_driver_sql("CREATE TABLE never_committed (content BLOB)")
        connection.execute(text("INSERT INTO never_committed VALUES (zeroblob(:size))"), {"size": _LONG_LOG_BYTES})
        connection.rollback()


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, or leave it there. Raises Permanent if it is of a later release."""
    from alembic import command  # a fifth of a second to import, and only one process migrates

    found = schema_revision(engine)
    if found is not None and found > SCHEMA_REVISION:
        raise Permanent(_newer(found))
    with engine.connect() as connection, _tables_may_be_rebuilt(connection), connection.begin():
        _wait_for_turn(connection)
        command.upgrade(_alembic(connection), "head")


def _wait_for_turn(connection: Connection) -> None:
    """Of two that migrate at once, the second finds it done. On SQLite it waits to begin."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})


def make_empty_schema(engine: Engine, revision: str) -> None:
    """Take all tables away, and make those of an older or the newest revision."""
    from alembic import command

    with engine.connect() as connection, _tables_may_be_rebuilt(connection), connection.begin():
        command.downgrade(_alembic(connection), "base")
        command.upgrade(_alembic(connection), revision)


def schema_revision(engine: Engine) -> str | None:
    """Of the tables that are there; None where there are none."""
    with engine.connect() as connection:
        is_there = inspect(connection).has_table("alembic_version")
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if is_there else None


def require_current_schema(engine: Engine) -> None:
    """Raise Permanent when the schema is not the one this program was written for."""
    found = schema_revision(engine)
    if found is None:
        where = in_words(engine.url)
        home = Path(where).parent if engine.dialect.name == "sqlite" else where
        begin = "run the command in the folder of dicom-node.toml, or `dicom-node migrate` to begin a node"
        raise Permanent(f"no node lives in {home} ({origin()}): {begin}")
    if found > SCHEMA_REVISION:
        raise Permanent(_newer(found))
    if found != SCHEMA_REVISION:
        words = f"database schema is at revision {found}, expected {SCHEMA_REVISION}: "
        words += "run `dicom-node migrate`; `dicom-node up` migrates by itself"
        raise Permanent(words)


def _newer(found: str) -> str:
    return (
        f"database schema is at revision {found}, of a later release than this program's {SCHEMA_REVISION}: "
        "run that release, or restore a backup that was made before it"
    )


@contextmanager
def _tables_may_be_rebuilt(connection: Connection) -> Iterator[None]:
    """SQLite changes a constraint by making the table anew: its foreign keys stand by until all is done."""
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = cast(sqlite3.Connection, connection.connection.driver_connection)
    raw.execute("PRAGMA foreign_keys=OFF")  # no effect within a transaction
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")
    if raw.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise Permanent("a row of the database names another that is not there: restore it from a backup")


def _alembic(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _keep_from_others(file: Path) -> None:
    """Nodes of before made the database for every account of the machine to read. What SQLite adds has its mode."""
    for each in (file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))):
        with suppress(OSError):  # not there, or not ours
            each.chmod(stat.S_IMODE(each.stat().st_mode) & ~stat.S_IRWXO)


def _prepare_postgresql(connection: DBAPIConnection, _: object) -> None:
    """Without compiling queries: of a worklist of 40,000 studies that takes up to fifty times what it saves."""
    with closing(connection.cursor()) as cursor:
        cursor.execute("SET jit = off")
    connection.commit()  # a rollback would take it back


def _prepare_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # SQLAlchemy's BEGIN is ours, see below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A read that becomes a write would fail at once when another writer was first; asking for the write lock at the
    # start waits for it instead, up to the busy time-out.
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
