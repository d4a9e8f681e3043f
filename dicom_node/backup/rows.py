"""The rows as files: a copy of SQLite's database by its online backup, or a CSV file of each table of PostgreSQL.

Not by pg_dump: it must not be older than the server, and is not where the node runs. Either way it is one moment of a
database that others go on writing to.
"""

import csv
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from errno import EIO
from pathlib import Path
from typing import cast

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import Engine, Table, inspect, literal
from sqlmodel import SQLModel, col, select

from dicom_node.backup.manifest import StoredObject
from dicom_node.clock import CLOCKS_DIFFER
from dicom_node.database import make_empty_schema, migrate
from dicom_node.errors import Permanent
from dicom_node.heartbeat import SILENT_AFTER_S
from dicom_node.models import Heartbeat

_SQLITE = "node.sqlite"
_PIECE_BYTES = 1024 * 1024
_OUT, _IN = SQL("COPY {} ({}) TO STDOUT (FORMAT csv, HEADER)"), SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER)")
_NEXT_ID = SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), max(id)) FROM {} HAVING max(id) IS NOT NULL")


def dump(engine: Engine, folder: Path) -> None:
    """Write the rows into the folder. Raises OSError."""
    with _told_as_of_the_disk():
        if engine.dialect.name == "postgresql":
            _dump_postgresql(engine, folder)
        else:
            _dump_sqlite(engine, folder / _SQLITE)


def stored_objects(folder: Path) -> Iterator[StoredObject]:
    """The instances of a dump that have a file, as their rows describe them; sha256 is empty where the row has none."""
    if (folder / _SQLITE).exists():
        yield from _objects_of_sqlite(folder / _SQLITE)
    else:
        yield from _objects_of_postgresql(folder)


def _objects_of_sqlite(source: Path) -> Iterator[StoredObject]:
    with closing(sqlite3.connect(source)) as copy:
        for row in copy.execute("SELECT path, size_bytes, sha256 FROM instance WHERE removed_at IS NULL ORDER BY id"):
            yield StoredObject(*row)


def _objects_of_postgresql(folder: Path) -> Iterator[StoredObject]:
    csv.field_size_limit(sys.maxsize)  # the header that is kept of a removed image may be as long as the image
    with _file(folder, "instance").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row["removed_at"]:
                yield StoredObject(row["path"], int(row["size_bytes"]), row["sha256"])


def require_empty(engine: Engine, now: datetime) -> None:
    """Raises Permanent if a table has a row, or a role runs."""
    there = inspect(engine).get_table_names()
    well_at = col(Heartbeat.well_at)
    alive = select(Heartbeat).where(well_at > now - timedelta(seconds=SILENT_AFTER_S), well_at <= now + CLOCKS_DIFFER)
    with engine.connect() as connection:
        if Heartbeat.__tablename__ in there and connection.execute(alive).first():
            raise Permanent("the node runs: stop all its roles first")
        for table in _tables():
            # No column: of a restore that was cut short they are those of an older schema.
            any_row = select(literal(1)).select_from(table).limit(1)
            if table.name in there and connection.execute(any_row).first():
                raise Permanent(f"the node is not empty: its table {table.name} has rows, and nothing is overwritten")


def load(engine: Engine, folder: Path, schema: str) -> None:
    """Fill an empty database with a dump, all of it or nothing, and bring it to the newest schema. Raises OSError."""
    with _told_as_of_the_disk():
        if engine.dialect.name == "postgresql":
            make_empty_schema(engine, schema)
            _load_postgresql(engine, folder)
        else:
            _load_sqlite(engine, folder / _SQLITE)
    migrate(engine)


@contextmanager
def _told_as_of_the_disk() -> Iterator[None]:
    """What the drivers raise that are used below SQLAlchemy: a disk that is full, a server that is away."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(EIO, str(error)) from error
    except psycopg.Error as error:  # its text may hold values of rows
        raise OSError(EIO, f"PostgreSQL failed ({type(error).__name__})") from error


def _dump_sqlite(engine: Engine, target: Path) -> None:
    """In one step, which others may write beside (WAL)."""
    with closing(engine.raw_connection()) as source, closing(sqlite3.connect(target)) as copy:
        cast(sqlite3.Connection, source.driver_connection).backup(copy)
        copy.execute(f"DELETE FROM {Heartbeat.__tablename__}")
        copy.commit()
        copy.execute("PRAGMA journal_mode=DELETE")  # one file


def _load_sqlite(engine: Engine, source: Path) -> None:
    with closing(sqlite3.connect(source)) as copy, closing(engine.raw_connection()) as target:
        copy.backup(cast(sqlite3.Connection, target.driver_connection))


def _dump_postgresql(engine: Engine, folder: Path) -> None:
    """All tables as they are at one moment."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        server = cast("Connection[tuple[object, ...]]", connection.connection.driver_connection)
        for table in _tables():
            columns = [column.name for column in table.columns]
            statement, target = _naming(_OUT, table.name, columns), _file(folder, table.name)
            with target.open("wb") as file, server.cursor() as cursor, cursor.copy(statement) as rows:
                file.writelines(rows)


def _load_postgresql(engine: Engine, folder: Path) -> None:
    """The tables and columns that the dump has; new ids come after those that are taken."""
    with engine.begin() as connection:
        server = cast("Connection[tuple[object, ...]]", connection.connection.driver_connection)
        for table in _tables():
            if not _file(folder, table.name).exists():
                continue  # it is younger than the dump
            _load_table(server, table.name, _file(folder, table.name))
            if "id" in table.columns:
                server.execute(_NEXT_ID.format(table.name, Identifier(table.name)))


def _load_table(server: "Connection[tuple[object, ...]]", table: str, source: Path) -> None:
    with source.open("rb") as file, server.cursor() as cursor:
        columns = file.readline().decode().strip().split(",")
        file.seek(0)
        with cursor.copy(_naming(_IN, table, columns)) as rows:
            while piece := file.read(_PIECE_BYTES):
                rows.write(piece)


def _naming(statement: SQL, table: str, columns: list[str]) -> Composed:
    return statement.format(Identifier(table), SQL(", ").join(map(Identifier, columns)))


def _tables() -> list[Table]:
    """Each after those that it refers to. How the roles are at the moment is nothing to keep."""
    return [table for table in SQLModel.metadata.sorted_tables if table.name != Heartbeat.__tablename__]


def _file(folder: Path, table: str) -> Path:
    return folder / f"{table}.csv"
