"""A node of an older release goes on where it was: each of its studies comes to its end under the newest."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import alembic.command
import pytest
from doubles import NOON, FakeDestination, FakeWriter, FrozenClock
from films import dx_bytes
from postgres import waits_for_a_lock
from rows import all_of, put, receive
from sqlalchemy import Connection, Engine, MetaData, Select, Table, text
from sqlmodel import select
from waiting import LONG_S, wait_until

from dicom_node import database
from dicom_node.config import Settings
from dicom_node.database import Sessions, make_empty_schema, migrate, require_current_schema
from dicom_node.errors import Permanent
from dicom_node.models import Job, Study
from dicom_node.operator import retry
from dicom_node.receive.sweep import sweep_once
from dicom_node.storage import InstanceStore, StoredFile
from dicom_node.timeline import study_status
from integration.relay import deliver_due
from integration.teller import Teller
from workers.inference import Reader, infer

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example"}
# Study → its state, its job's, its delivery's; an empty one: it has none.
FIRST_RELEASE = {
    1: ("receiving", "", ""),
    2: ("complete", "queued", ""),
    3: ("complete", "inferring", ""),
    4: ("complete", "reported", "pending"),
    5: ("complete", "reported", "sending"),
    6: ("complete", "skipped", ""),
    7: ("complete", "failed", "failed"),
    8: ("complete", "done", "delivered"),
}


# Those at which some program stood. Of others no node was ever left.
SCHEMAS = ("0001", "0002", "0005", "0006", "0008", "0012", "0013", "0014")
TABLES = ("study", "series", "instance", "transition", "job", "report", "delivery", "commitment", "page_user", "notice")


class Node:
    """The newest release on the database of an older one."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = Settings(data_dir=settings.data_dir, pacs=[PACS], min_free_bytes=0)
        self.engine, self.sessions = engine, Sessions(engine)
        self.store, self.clock = InstanceStore(settings.instances_dir), FrozenClock(NOON + timedelta(days=1))
        self.pacs = FakeDestination(name="pacs")

    def fill(self, schema: str) -> None:
        make_empty_schema(self.engine, schema)
        there = MetaData()
        there.reflect(self.engine)
        with self.engine.begin() as connection:
            for number, states in FIRST_RELEASE.items():
                film = put(self.store, dx_bytes(**uids_of(number)))
                for name, values in _rows(number, *states, film=film).items():
                    _insert(connection, there.tables.get(name), values)
            if self.engine.dialect.name == "postgresql":  # ids were given, not taken
                for name in {name for name in TABLES if name in there.tables} - {"notice"}:
                    last = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), {len(FIRST_RELEASE)})"
                    connection.execute(text(last))

    def rows(self, columns: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[dict[str, Any]]]:
        """Of all tables that are there, or those columns of them."""
        there = MetaData()
        there.reflect(self.engine)
        wanted = columns or {name: [column.name for column in table.columns] for name, table in there.tables.items()}
        with self.engine.connect() as connection:
            return {
                name: [dict(row) for row in connection.execute(_in_order(there.tables[name], columns)).mappings()]
                for name, columns in wanted.items()
                if name != "alembic_version"
            }

    def work(self) -> None:
        """Sweep, draft and deliver until there is nothing to do."""
        reader = Reader(self.sessions, self.store, FakeWriter(), self.settings, self.clock)
        teller = Teller(self.sessions, self.store, self.settings, self.clock)
        for _ in range(3):
            sweep_once(self.sessions, self.settings, self.clock, None)
            while infer(reader) or deliver_due(teller, self.pacs):
                pass
            self.clock.forward(self.settings.idle_timeout_s + 1)

    def where(self) -> dict[int, str]:
        with self.sessions() as session:
            return {study.id or 0: study_status(session, study).where for study in session.exec(select(Study))}


def _in_order(table: Table, columns: Sequence[str]) -> Select[Any]:
    return table.select().with_only_columns(*(table.c[name] for name in columns)).order_by(*table.primary_key)


def _insert(connection: Connection, table: Table | None, values: dict[str, Any]) -> None:
    """What a program wrote whose schema knew the table, and those columns of it."""
    if table is not None:
        connection.execute(table.insert(), {each.name: values[each.name] for each in table.c if each.name in values})


def uids_of(number: int) -> dict[str, str]:
    return {
        "SOPInstanceUID": f"1.2.{number}",
        "SeriesInstanceUID": f"1.3.{number}",
        "StudyInstanceUID": f"1.4.{number}",
    }


def _rows(number: int, study: str, job: str, delivery: str, *, film: StoredFile) -> dict[str, dict[str, Any]]:
    """The rows of one study by their tables, as programs wrote them."""
    uids, at = uids_of(number), NOON
    rows: dict[str, dict[str, Any]] = {
        "study": {
            "id": number, "study_instance_uid": uids["StudyInstanceUID"], "state": study, "last_received_at": at,
            "accession_number": "", "patient_id": "", "issuer_of_patient_id": "", "patient_name_folded": "",
            "created_at": at,
        },
        "series": {
            "id": number, "study_id": number, "series_instance_uid": uids["SeriesInstanceUID"], "modality": "DX"
        },
        "instance": {
            "id": number, "series_id": number, "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1", "variant": 0,
            "sop_instance_uid": uids["SOPInstanceUID"], "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "size_bytes": film.size_bytes, "sha256": str(number), "path": film.path, "calling_ae": "MODALITY",
            "received_at": at, "patient_key": "p", "body_part": "CHEST", "view": "PA", "manufacturer": "",
            "presentation_intent": "FOR PRESENTATION", "burned_in_annotation": "NO", "has_pixels": True,
        },
        "transition": {
            "id": number, "row_kind": "study", "row_id": number, "old": "", "new": study, "at": at,
            "reason": "first instance received",
        },
        "commitment": {
            "id": number, "transaction_uid": f"1.5.{number}", "calling_ae": "MODALITY", "requestor": "127.0.0.1:1",
            "requested": "[]", "failures": "[]", "state": "delivered", "priority": 5, "attempts": 1, "due_at": at,
            "reason": "", "created_at": at,
        },
        "page_user": {
            "id": number, "name": f"user{number}", "access": "viewer", "password_hash": "none", "created_at": at
        },
        "notice": {"channel": "mail", "condition": f"c{number}", "is_raised": True, "newest": number, "due_at": at},
    }  # fmt: skip
    if job:
        rows["job"] = {
            "id": number, "study_id": number, "revision": 1, "state": job, "priority": 5, "attempts": 1, "due_at": at,
            "lease_until": at if job == "inferring" else None, "reason": "", "seen_by": "", "created_at": at,
        }  # fmt: skip
    if delivery:
        rows["report"] = {
            "id": number, "job_id": number, "instance_id": number, "findings": "The lungs are clear.", "flags": "[]",
            "indication": "", "model_name": "m", "model_version": "1", "model_digest": "d", "token_count": 6,
            "model_is_synthetic": False, "cropped_fraction": 0.25, "seconds": 0.5, "labels": "",
            "withdrawal_reason": "", "created_at": at,
        }  # fmt: skip
        rows["delivery"] = {
            "id": number, "report_id": number, "kind": "sr", "destination": "pacs", "state": delivery, "priority": 5,
            "attempts": 1, "due_at": at, "lease_until": at if delivery == "sending" else None,
            "payload": b"as sent" if delivery in ("failed", "sending") else None, "identifier": "", "ack_code": "",
            "reason": "", "wants_commitment": False, "has_gone_out": False, "transaction_uid": "",
            "delivered_at": at if delivery == "delivered" else None, "created_at": at,
        }  # fmt: skip
    return rows


@pytest.fixture
def node(settings: Settings, engine: Engine) -> Node:
    return Node(settings, engine)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_study_of_an_older_release_comes_to_its_end(node: Node, schema: str) -> None:
    node.fill(schema)
    before = node.rows()
    migrate(node.engine)
    require_current_schema(node.engine)
    assert node.rows({name: list(rows[0]) for name, rows in before.items() if rows}) == {
        name: rows for name, rows in before.items() if rows
    }
    node.work()
    assert node.where() == {1: "done", 2: "done", 3: "done", 4: "done", 5: "done", 6: "skipped", 7: "failed", 8: "done"}
    assert len(node.pacs.sent) == 5  # studies 1 to 5; 8 has it already
    assert node.pacs.sent.count(b"as sent") == 1  # of study 5, which was being sent


def test_an_operator_goes_on_with_what_the_first_release_left(node: Node) -> None:
    node.fill("0001")
    migrate(node.engine)
    with node.sessions.begin() as session:
        for study_id in (6, 7):
            retry(session, study_id, node.clock())
    node.work()
    assert [node.where()[study_id] for study_id in (6, 7)] == ["done", "done"]
    assert node.pacs.sent.count(b"as sent") == 2  # of study 5, too


def test_a_late_image_reopens_a_study_of_the_first_release(node: Node) -> None:
    node.fill("0001")
    migrate(node.engine)
    late = uids_of(8) | {"SOPInstanceUID": "1.2.88"}
    with node.sessions.begin() as session:
        receive(session, node.store, now=node.clock(), **late)
    node.clock.forward(node.settings.idle_timeout_s + 1)
    node.work()
    assert [job.revision for job in all_of(node.sessions, Job) if job.study_id == 8] == [1, 2]


def test_of_two_that_migrate_at_once_the_second_finds_it_done(postgres_engine: Engine) -> None:
    make_empty_schema(postgres_engine, "0014")
    with ThreadPoolExecutor() as pool:
        with postgres_engine.begin() as first:
            database._wait_for_turn(first)
            alembic.command.upgrade(database._alembic(first), "head")
            second = pool.submit(migrate, postgres_engine)
            wait_until(lambda: waits_for_a_lock(Sessions(postgres_engine)), "the second waits")
        second.result(LONG_S)
    require_current_schema(postgres_engine)


def test_a_database_of_a_later_release_is_left_alone_and_said(engine: Engine) -> None:
    with engine.begin() as connection:
        current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    words = "revision 9999, of a later release than this program's .*: run that release, or restore a backup"
    try:
        for refuse in (migrate, require_current_schema):
            with pytest.raises(Permanent, match=words):
                refuse(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": current})
