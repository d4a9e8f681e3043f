"""A node of the first release goes on where it was: each of its studies comes to its end under the newest."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import alembic.command
import pytest
from doubles import NOON, FakeDestination, FakeWriter, FrozenClock
from films import dx_bytes
from postgres import waits_for_a_lock
from rows import all_of, put, receive
from sqlalchemy import Engine, text
from sqlmodel import select
from waiting import LONG_S, wait_until

from dicom_node import database
from dicom_node.config import Settings
from dicom_node.database import Sessions, make_empty_schema, migrate, require_current_schema
from dicom_node.errors import Permanent
from dicom_node.models import Job, Study
from dicom_node.operator import retry
from dicom_node.receive.sweep import sweep_once
from dicom_node.storage import InstanceStore
from dicom_node.timeline import study_status
from integration.relay import deliver_due
from integration.teller import Teller
from workers.inference import Reader, infer

AT = NOON.isoformat(sep=" ")
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


TABLES = ("study", "series", "instance", "transition", "job", "report", "delivery")


class Node:
    """The newest release on the database of the first."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = Settings(data_dir=settings.data_dir, pacs=[PACS], min_free_bytes=0)
        self.engine, self.sessions = engine, Sessions(engine)
        self.store, self.clock = InstanceStore(settings.instances_dir), FrozenClock(NOON + timedelta(days=1))
        self.pacs = FakeDestination(name="pacs")

    def fill_first_release(self) -> None:
        make_empty_schema(self.engine, "0001")
        with self.engine.begin() as connection:
            for number, states in FIRST_RELEASE.items():
                film = put(self.store, dx_bytes(**uids_of(number)))
                for statement, values in _rows(number, *states, path=film.path):
                    connection.execute(text(statement), values)
            if self.engine.dialect.name == "postgresql":  # ids were given, not taken
                for table in TABLES:
                    last = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {len(FIRST_RELEASE)})"
                    connection.execute(text(last))

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


def uids_of(number: int) -> dict[str, str]:
    return {
        "SOPInstanceUID": f"1.2.{number}",
        "SeriesInstanceUID": f"1.3.{number}",
        "StudyInstanceUID": f"1.4.{number}",
    }


def _rows(number: int, study: str, job: str, delivery: str, *, path: str) -> list[tuple[str, dict[str, Any]]]:
    """The rows of one study, as the first release wrote them."""
    lease = AT if job == "inferring" else None
    common = {"id": number, "at": AT, "path": path, "study": study, "job": job, "lease": lease, "delivery": delivery}
    common["sending"] = AT if delivery == "sending" else None
    common["payload"] = b"as sent" if delivery == "failed" else None
    statements = [
        "INSERT INTO study VALUES (:id, '1.4.' || CAST(:id AS TEXT), :study, :at, :at)",
        "INSERT INTO series VALUES (:id, :id, '1.3.' || CAST(:id AS TEXT), 'DX')",
        "INSERT INTO instance VALUES (:id, :id, '1.2.840.10008.5.1.4.1.1.1.1', '1.2.' || CAST(:id AS TEXT),"
        " '1.2.840.10008.1.2.1', CAST(:id AS TEXT), :path, 'MODALITY', :at, 'p', 'CHEST', 'PA', 'FOR PRESENTATION', '',"
        " 'NO', true)",
        "INSERT INTO transition VALUES (:id, 'study', :id, '', :study, :at, 'first instance received')",
    ]
    if job:
        statements.append("INSERT INTO job VALUES (:id, :id, 1, :job, 5, 1, :at, :lease, NULL, '', :at)")
    if delivery:
        statements.append(
            "INSERT INTO report VALUES (:id, :id, :id, 'The lungs are clear.', '', 'm', '1', 'd', 6, 0.25, 0.5, :at)"
        )
        statements.append(
            "INSERT INTO delivery VALUES"
            " (:id, :id, 'sr', 'pacs', :delivery, 5, 1, :at, :sending, :payload, '', '', '', :at)"
        )
    return [(each, {name: value for name, value in common.items() if f":{name}" in each}) for each in statements]


@pytest.fixture
def node(settings: Settings, engine: Engine) -> Node:
    made = Node(settings, engine)
    made.fill_first_release()
    return made


def test_every_study_of_the_first_release_comes_to_its_end(node: Node) -> None:
    migrate(node.engine)
    require_current_schema(node.engine)
    node.work()
    assert node.where() == {1: "done", 2: "done", 3: "done", 4: "done", 5: "done", 6: "skipped", 7: "failed", 8: "done"}
    assert len(node.pacs.sent) == 5  # studies 1 to 5; 8 has it already


def test_an_operator_goes_on_with_what_the_first_release_left(node: Node) -> None:
    migrate(node.engine)
    with node.sessions.begin() as session:
        for study_id in (6, 7):
            retry(session, study_id, node.clock())
    node.work()
    assert [node.where()[study_id] for study_id in (6, 7)] == ["done", "done"]
    assert b"as sent" in node.pacs.sent


def test_a_late_image_reopens_a_study_of_the_first_release(node: Node) -> None:
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
