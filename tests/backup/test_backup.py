"""A backup made while objects come in holds every one that was acknowledged before it; and it can be restored."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import alembic.command
import psycopg
import pytest
from doubles import NOON, FrozenClock
from pydantic import SecretStr
from rows import add_delivery, add_job, add_report, all_of, receive
from sqlalchemy import Engine, inspect, text, update
from sqlmodel import select
from stored_files import whole_files
from waiting import LONG_S, wait_until

from dicom_node import database
from dicom_node.backup import making, objects
from dicom_node.backup import rows as files_of_rows
from dicom_node.backup.making import back_up
from dicom_node.backup.manifest import OBJECTS, read_manifest, sha256_of
from dicom_node.backup.restoring import restore
from dicom_node.config import Settings
from dicom_node.database import Sessions, make_empty_schema, open_database, require_current_schema
from dicom_node.errors import Permanent
from dicom_node.models import Delivery, Heartbeat, Instance, Job, Report, Series, Study, Transition
from dicom_node.storage import InstanceStore, StoredFile

KEPT = (Study, Series, Instance, Job, Report, Delivery, Transition)


class Sender:
    """Films that come in one after the other while the block lasts, as a C-STORE keeps them."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self.acknowledged: list[str] = []
        self._store, self._sessions, self._stop = InstanceStore(settings.instances_dir), sessions, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(LONG_S)

    def _send(self) -> None:
        for number in count(1):
            if self._stop.is_set():
                return
            uid = f"1.2.3.{number}"
            with self._sessions.begin() as session:
                receive(session, self._store, SOPInstanceUID=uid)
            self.acknowledged.append(uid)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """The settings of a new node."""
    return settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})


@pytest.fixture
def new_node(elsewhere: Settings, engine: Engine) -> Iterator[Engine]:
    """Its database: on SQLite another file; on PostgreSQL the same database, which the test empties first."""
    other = engine if engine.dialect.name == "postgresql" else open_database(elsewhere)
    yield other
    other.dispose()


def lose(engine: Engine) -> None:
    """What was in the database of a PostgreSQL."""
    if engine.dialect.name == "postgresql":
        make_empty_schema(engine, "head")


def rows_of(engine: Engine) -> dict[str, list[dict[str, object]]]:
    sessions = Sessions(engine)
    return {model.__tablename__: [row.model_dump() for row in all_of(sessions, model)] for model in KEPT}


def fill(settings: Settings, sessions: Sessions, films: int = 2) -> InstanceStore:
    """A study with a draft, its delivery, and text that is hard to write into a file."""
    store = InstanceStore(settings.instances_dir)
    with sessions.begin() as session:
        instances = [receive(session, store, SOPInstanceUID=f"1.2.{number}") for number in range(films)]
        report = add_report(session, add_job(session), instances[0], attention=bytes(range(256)))
        report.findings = 'Unauffällig, "sauber",\r\nN\\A; keine Ergüsse.\n'
        add_delivery(session, report, payload=b'\x00,\n"', reason="")
    settings.audit_dir.mkdir(exist_ok=True)
    (settings.audit_dir / "2026-03-01.xml").write_text("<AuditMessage/>\n")
    return store


def test_every_object_acknowledged_before_a_backup_is_in_it(
    settings: Settings, engine: Engine, new_node: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    with Sender(settings, Sessions(engine)) as sender:
        wait_until(lambda: len(sender.acknowledged) >= 5, "objects come in")
        before = list(sender.acknowledged)
        made = back_up(settings, engine, tmp_path / "backup", FrozenClock())
        so_far = len(sender.acknowledged)
        wait_until(lambda: len(sender.acknowledged) > so_far, "the node goes on")
    assert made.missing == 0
    lose(engine)
    found = restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    rows = all_of(Sessions(new_node), Instance)
    assert set(before) <= {row.sop_instance_uid for row in rows}
    assert (found.objects, found.damaged) == (len(rows), 0)
    store = InstanceStore(elsewhere.instances_dir)
    for row in rows:
        assert len(store.sha256(StoredFile(row.path, row.size_bytes))) == 64


def test_a_restored_node_is_the_one_that_was_backed_up(
    settings: Settings, engine: Engine, new_node: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    fill(settings, Sessions(engine))
    with Sessions(engine).begin() as session:
        session.add(Heartbeat(role="scp", host="node", well_at=NOON))
    before = rows_of(engine)
    made = back_up(settings, engine, tmp_path / "backup", FrozenClock())
    assert (made.objects, made.new, made.missing) == (2, 2, 0)
    lose(engine)
    restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    require_current_schema(new_node)
    assert rows_of(new_node) == before
    assert all_of_heartbeats(new_node) == 0
    assert whole_files(elsewhere.instances_dir) == whole_files(settings.instances_dir)
    assert (elsewhere.audit_dir / "2026-03-01.xml").read_text() == "<AuditMessage/>\n"
    with Sessions(new_node).begin() as session:  # new rows get ids that are free
        assert add_job(session).id == before["job"][-1]["id"] + 1


def all_of_heartbeats(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM heartbeat")).scalar_one())


def test_a_backup_of_an_older_schema_is_brought_to_the_newest(
    settings: Settings, postgres_engine: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    fill(settings, Sessions(postgres_engine))
    back_up(settings, postgres_engine, tmp_path / "backup", FrozenClock())
    make_older(tmp_path / "backup", postgres_engine, "0007")
    make_empty_schema(postgres_engine, "head")
    restore(elsewhere, postgres_engine, tmp_path / "backup", FrozenClock())
    require_current_schema(postgres_engine)
    assert len(all_of(Sessions(postgres_engine), Report)) == 1


def make_older(folder: Path, engine: Engine, schema: str) -> None:
    """Write the rows of a backup of PostgreSQL as the program of an older schema would have."""
    with engine.begin() as connection:
        alembic.command.downgrade(database._alembic(connection), schema)
    (state,) = folder.glob("state-*")
    for file in state.glob("*.csv"):
        file.unlink()
    with engine.connect() as connection:
        server = connection.connection.driver_connection
        assert server is not None
        for table in set(inspect(engine).get_table_names()) - {"alembic_version", "heartbeat"}:
            with server.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT (FORMAT csv, HEADER)") as rows:
                (state / f"{table}.csv").write_bytes(b"".join(rows))
    change_manifest(folder, schema=schema, sha256={file.name: sha256_of(file) for file in state.iterdir()})


def test_a_backup_of_a_newer_program_is_refused(settings: Settings, sqlite_engine: Engine, tmp_path: Path) -> None:
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    change_manifest(tmp_path / "backup", schema="9999")
    with pytest.raises(Permanent, match="the backup has schema 9999"):
        restore(settings, sqlite_engine, tmp_path / "backup", FrozenClock())


def change_manifest(folder: Path, **changes: object) -> None:
    file = folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_node_with_rows_is_not_overwritten(
    settings: Settings, engine: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    fill(settings, Sessions(engine))
    before = rows_of(engine)
    back_up(settings, engine, tmp_path / "backup", FrozenClock())
    with pytest.raises(Permanent, match="the node is not empty: its table study has rows, and nothing is overwritten"):
        restore(elsewhere, engine, tmp_path / "backup", FrozenClock())
    assert rows_of(engine) == before


def test_a_node_that_runs_is_not_filled(settings: Settings, sqlite_engine: Engine, tmp_path: Path) -> None:
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    with Sessions(sqlite_engine).begin() as session:
        session.add(Heartbeat(role="sweep", host="node", well_at=NOON - timedelta(seconds=20)))
    with pytest.raises(Permanent, match="the node runs: stop all its roles first"):
        restore(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    restore(settings, sqlite_engine, tmp_path / "backup", FrozenClock(NOON + timedelta(minutes=5)))


def test_a_role_that_died_while_the_clock_was_ahead_keeps_no_node_from_being_filled(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    with Sessions(sqlite_engine).begin() as session:
        session.add(Heartbeat(role="sweep", host="node", well_at=NOON + timedelta(days=365)))
    restore(settings, sqlite_engine, tmp_path / "backup", FrozenClock())


def test_a_long_header_of_a_removed_image_is_in_a_backup(
    settings: Settings, engine: Engine, new_node: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    """Tables of grey values, or a deflated data set, which is kept whole."""
    header = bytes(range(256)) * 400
    fill(settings, Sessions(engine))
    with Sessions(engine).begin() as session:
        session.execute(update(Instance).values(header=header))
    back_up(settings, engine, tmp_path / "backup", FrozenClock())
    lose(engine)
    restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    assert {row.header for row in all_of(Sessions(new_node), Instance)} == {header}


def test_the_next_backup_in_a_folder_copies_only_what_is_new(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    sessions, folder = Sessions(sqlite_engine), tmp_path / "backup"
    store = fill(settings, sessions)
    first = back_up(settings, sqlite_engine, folder, FrozenClock())
    with sessions.begin() as session:
        receive(session, store, SOPInstanceUID="1.2.77")
    second = back_up(settings, sqlite_engine, folder, FrozenClock(NOON + timedelta(days=1)))
    assert (first.objects, first.new, second.objects, second.new) == (2, 2, 3, 1)
    assert [each.name for each in folder.glob("state-*")] == [read_manifest(folder).state]


@pytest.mark.parametrize("links", [True, False], ids=["same disk", "another disk"])
def test_objects_take_no_second_room_on_the_same_disk(
    links: bool, settings: Settings, sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(objects.os, "link", cross_device)
    store = fill(settings, Sessions(sqlite_engine))
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    for path in whole_files(store.root):
        kept = tmp_path / "backup" / "instances" / path
        assert kept.samefile(store.root / path) is links
        assert kept.read_bytes() == (store.root / path).read_bytes()
        assert kept.stat().st_mode == (store.root / path).stat().st_mode  # it says that the file is finished


def cross_device(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_an_audit_file_that_was_moved_away_stays_in_the_backup(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    folder, name, days = tmp_path / "backup", "audit-2026-03-01.log", count()
    settings.audit_dir.mkdir()
    file = settings.audit_dir / name

    def keep(words: str) -> None:
        file.write_text(words)
        back_up(settings, sqlite_engine, folder, FrozenClock(NOON + timedelta(days=next(days))))

    keep("1\n")
    keep("1\n2\n")
    (settings.audit_dir / "2025").mkdir()
    file.rename(settings.audit_dir / "2025" / name)
    keep("3\n")
    (settings.audit_dir / "2025" / name).unlink()
    keep("3\n4\n")
    restore(elsewhere, new_node := open_database(elsewhere), folder, FrozenClock())
    new_node.dispose()
    restored = {str(path.relative_to(elsewhere.audit_dir)): path.read_text() for path in audit_files(elsewhere)}
    assert restored == {name: "3\n4\n", f"{name}.1": "1\n2\n", f"2025/{name}": "1\n2\n"}


def audit_files(settings: Settings) -> list[Path]:
    return [path for path in settings.audit_dir.rglob("*") if path.is_file()]


def test_an_audit_file_is_copied_whole_or_not_at_all(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    settings.audit_dir.mkdir(mode=0o750)
    file = settings.audit_dir / "audit-2026-03-01.log"
    file.write_text("1\n")
    file.chmod(0o640)
    back_up(settings, sqlite_engine, folder, FrozenClock())
    file.write_text("1\n2\n")
    with monkeypatch.context() as context:
        context.setattr(objects.shutil, "copyfile", full_disk)
        with pytest.raises(Permanent, match="No space left on device"):
            back_up(settings, sqlite_engine, folder, FrozenClock(NOON + timedelta(days=1)))
    new_node = open_database(elsewhere)
    with monkeypatch.context() as context:
        context.setattr(objects.shutil, "copyfile", full_disk)
        with pytest.raises(Permanent, match="No space left on device"):
            restore(elsewhere, new_node, folder, FrozenClock())
    (folder / "audit" / "audit-2026-03-02.part").write_text("?")  # of a backup that was killed
    restore(elsewhere, new_node, folder, FrozenClock())
    new_node.dispose()
    restored = elsewhere.audit_dir / file.name
    assert not (elsewhere.audit_dir / "audit-2026-03-02.part").exists()
    assert restored.read_text() == "1\n"
    assert (restored.stat().st_mode | elsewhere.audit_dir.stat().st_mode) & 0o007 == 0  # it names patients


def full_disk(_: Path, target: Path) -> None:
    target.write_bytes(b"?")
    raise OSError(28, "No space left on device")


def test_damaged_objects_are_not_restored_and_their_studies_are_named(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects.os, "link", cross_device)
    store = fill(settings, Sessions(sqlite_engine), films=4)
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    whole, changed, cut, gone = (tmp_path / "backup" / "instances" / path for path in whole_files(store.root))
    for file in (changed, cut):
        file.chmod(0o640)
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    cut.write_bytes(b"DICM")
    gone.unlink()
    new_node = open_database(elsewhere)
    found = restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    new_node.dispose()
    assert (found.objects, found.damaged) == (4, 3)
    assert found.studies == (1,)
    assert whole_files(elsewhere.instances_dir) == [str(whole.relative_to(tmp_path / "backup" / "instances"))]


def test_a_damaged_file_of_the_node_that_was_lost_is_replaced(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    """Of a disk that lost its rows, and half of a file."""
    store = fill(settings, Sessions(sqlite_engine))
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    torn = elsewhere.instances_dir / whole_files(store.root)[0]
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"DICM")
    new_node = open_database(elsewhere)
    found = restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    new_node.dispose()
    assert (found.objects, found.damaged) == (2, 0)
    assert torn.read_bytes() == (store.root / whole_files(store.root)[0]).read_bytes()


def test_a_whole_file_of_the_node_that_was_lost_is_kept(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    """It may be all there is of it."""
    store = fill(settings, Sessions(sqlite_engine))
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    path = whole_files(store.root)[0]
    whole = elsewhere.instances_dir / path
    whole.parent.mkdir(parents=True)
    (tmp_path / "backup" / "instances" / path).rename(whole)
    new_node = open_database(elsewhere)
    found = restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    new_node.dispose()
    assert (found.objects, found.damaged) == (2, 0)
    assert whole.read_bytes() == (store.root / path).read_bytes()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{}", b'{"made_at": "\xe4"}'])
def test_a_damaged_manifest_is_refused(
    content: bytes, settings: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(Permanent, match=r"holds no whole backup: its manifest\.json cannot be read"):
        restore(settings, sqlite_engine, tmp_path, FrozenClock())


def test_damaged_rows_are_refused(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path
) -> None:
    fill(settings, Sessions(sqlite_engine))
    back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    rows = tmp_path / "backup" / read_manifest(tmp_path / "backup").state / "node.sqlite"
    rows.write_bytes(rows.read_bytes()[:-1] + b"?")
    new_node = open_database(elsewhere)
    with pytest.raises(Permanent, match=r"the backup is damaged: node\.sqlite is not what was written"):
        restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    new_node.dispose()


def test_a_backup_that_was_cut_short_leaves_the_one_before(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    fill(settings, Sessions(sqlite_engine))
    back_up(settings, sqlite_engine, folder, FrozenClock())
    before = read_manifest(folder)
    with monkeypatch.context() as context:
        context.setattr(objects.os, "sync", cross_device)
        with pytest.raises(Permanent, match="the backup could not be made: Invalid cross-device link"):
            back_up(settings, sqlite_engine, folder, FrozenClock(NOON + timedelta(days=1)))
    assert read_manifest(folder) == before
    back_up(settings, sqlite_engine, folder, FrozenClock(NOON + timedelta(days=2)))
    assert len(list(folder.glob("state-*"))) == 1


def test_a_folder_of_something_else_is_left_alone(settings: Settings, sqlite_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(Permanent, match="holds other things than backups"):
        back_up(settings, sqlite_engine, tmp_path, FrozenClock())


def test_a_row_whose_file_is_gone_is_counted(settings: Settings, sqlite_engine: Engine, tmp_path: Path) -> None:
    store = fill(settings, Sessions(sqlite_engine))
    (store.root / whole_files(store.root)[0]).unlink()
    made = back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    assert (made.objects, made.missing) == (2, 1)


def test_what_is_removed_while_a_backup_is_made_is_not_missed(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(settings, Sessions(sqlite_engine))
    going, keep = whole_files(store.root)[0], making.keep

    def remove(source: Path, target: Path) -> bool:
        if source == store.root / going:
            with Sessions(sqlite_engine).begin() as session:
                session.exec(select(Instance).where(Instance.path == going)).one().removed_at = NOON
            source.unlink()
        return keep(source, target)

    monkeypatch.setattr(making, "keep", remove)
    assert back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock()).missing == 0
    (objects_kept,) = (tmp_path / "backup").glob(f"*/{OBJECTS}")
    assert going not in objects_kept.read_text()


def test_an_object_that_cannot_be_read_keeps_no_other_out_of_a_backup(
    settings: Settings, sqlite_engine: Engine, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that begins to fail."""
    store = fill(settings, Sessions(sqlite_engine), films=3)
    bad, cut, _ = whole_files(store.root)
    (store.root / cut).chmod(0o640)
    (store.root / cut).write_bytes(b"DICM")  # its row has no digest yet
    copyfile = objects.shutil.copyfile

    def fail_to_read(source: Path, target: Path) -> None:
        copyfile(source, target)
        if source == store.root / bad:
            source.unlink()
            source.mkdir()  # nothing else can be read as badly by who may read everything
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(objects.os, "link", cross_device)
    monkeypatch.setattr(objects.shutil, "copyfile", fail_to_read)
    made = back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())
    assert (made.objects, made.missing) == (3, 2)
    new_node = open_database(elsewhere)
    found = restore(elsewhere, new_node, tmp_path / "backup", FrozenClock())
    new_node.dispose()
    assert (found.objects, found.damaged, found.studies) == (3, 2, (1,))


def test_a_folder_without_room_is_told(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(settings, Sessions(sqlite_engine))
    monkeypatch.setattr(objects.os, "link", cross_device)
    monkeypatch.setattr(objects.shutil, "copyfile", full_disk)
    with pytest.raises(Permanent, match="the backup could not be made: No space left on device"):
        back_up(settings, sqlite_engine, tmp_path / "backup", FrozenClock())


def test_a_disk_that_is_full_of_the_rows_is_told(
    settings: Settings, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the drivers raise themselves: it was a traceback."""
    fill(settings, Sessions(engine))
    broken = psycopg.OperationalError("CANARY") if engine.dialect.name == "postgresql" else sqlite3.OperationalError

    def fail(*_: object) -> None:
        raise broken

    monkeypatch.setattr(files_of_rows, f"_dump_{engine.dialect.name}", fail)
    with pytest.raises(Permanent, match=r"the backup could not be made: ((?!CANARY).)*$"):
        back_up(settings, engine, tmp_path / "backup", FrozenClock())


def test_what_was_cut_short_makes_room_for_the_next(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take the room of another copy of the rows, until one is whole."""
    folder, days = tmp_path / "backup", count()
    fill(settings, Sessions(sqlite_engine))
    back_up(settings, sqlite_engine, folder, FrozenClock())
    whole = read_manifest(folder).state

    def fail() -> None:
        with monkeypatch.context() as context:
            context.setattr(objects.os, "sync", cross_device)
            with pytest.raises(Permanent, match="the backup could not be made"):
                back_up(settings, sqlite_engine, folder, FrozenClock(NOON + timedelta(days=1 + next(days))))

    for _ in range(3):
        fail()
    kept = {each.name for each in folder.glob("state-*")}
    assert (len(kept), whole in kept) == (2, True)
    (folder / "manifest.json").write_text("?")  # nobody knows which of them is whole
    fail()
    assert {each.name for each in folder.glob("state-*")} > kept


def test_a_restore_that_was_cut_short_between_tables_and_rows_is_begun_again(
    settings: Settings, postgres_engine: Engine, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an older schema: its tables lack columns that the newest have."""
    fill(settings, Sessions(postgres_engine))
    back_up(settings, postgres_engine, tmp_path / "backup", FrozenClock())
    make_older(tmp_path / "backup", postgres_engine, "0007")
    make_empty_schema(postgres_engine, "head")
    with monkeypatch.context() as context:
        context.setattr(files_of_rows, "_load_postgresql", cross_device)
        with pytest.raises(Permanent, match="the rows could not be restored: Invalid cross-device link"):
            restore(elsewhere, postgres_engine, tmp_path / "backup", FrozenClock())
    restore(elsewhere, postgres_engine, tmp_path / "backup", FrozenClock())
    assert len(all_of(Sessions(postgres_engine), Report)) == 1


def test_no_secret_is_in_a_backup(settings: Settings, sqlite_engine: Engine, tmp_path: Path) -> None:
    secret = SecretStr("a-secret-of-the-site")
    secretive = settings.model_copy(update={"metrics_token": secret, "stow_clients": {"X": secret}})
    back_up(secretive, sqlite_engine, tmp_path / "backup", FrozenClock())
    kept = [file.read_bytes() for file in (tmp_path / "backup").rglob("*") if file.is_file()]
    assert not any(b"a-secret-of-the-site" in content for content in kept)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0  # it is full of patients


def test_the_commands_say_what_they_did(settings: Settings, sqlite_engine: Engine, tmp_path: Path) -> None:
    fill(settings, Sessions(sqlite_engine))
    folder = tmp_path / "backup"
    assert command(settings.data_dir, "backup", folder) == (
        0,
        f"Backed up 2 objects of {settings.data_dir}, 2 of them new in the folder.\n",
    )
    new = tmp_path / "elsewhere"
    status, words = command(new, "restore", folder)
    assert (status, words.startswith("Restored 2 objects, as of 20")) == (0, True)
    status, words = command(new, "restore", folder)
    assert (status, "the node is not empty" in words) == (1, True)


def command(data_dir: Path, *arguments: object) -> tuple[int, str]:
    """Exit status and words of `dicom-node`."""
    environment = {**os.environ, "DICOM_NODE_DATA_DIR": str(data_dir)}
    run = [sys.executable, "-m", "dicom_node", *map(str, arguments)]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
