"""The schema, and the promise of a commit."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from doubles import NOON
from rows import add_study, only
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import SQLModel, col, select

from dicom_node import database
from dicom_node.config import Settings
from dicom_node.database import Sessions, lengthen_log, migrate, open_database, require_current_schema
from dicom_node.errors import Permanent
from dicom_node.models import Delivery, Instance, Report, Series, Study


def test_the_migrations_make_the_schema_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_every_index_of_the_models_is_made_with_its_condition(engine: Engine) -> None:
    catalog = "pg_indexes" if engine.dialect.name == "postgresql" else "sqlite_master"
    column = "indexdef" if engine.dialect.name == "postgresql" else "sql"
    with engine.connect() as connection:
        found = connection.execute(
            text(f"SELECT {column} FROM {catalog} WHERE {column} LIKE '%one_drafting_job_per_study%'")
        )
        definition = found.scalar_one()
    assert "UNIQUE" in definition
    assert all(state in definition for state in ("'queued'", "'inferring'"))
    assert "'reported'" not in definition


def test_migrating_a_current_schema_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    require_current_schema(engine)


def test_the_migrations_lead_down_again(engine: Engine) -> None:
    with engine.begin() as connection:
        alembic.command.downgrade(database._alembic(connection), "base")
    with pytest.raises(Permanent):
        require_current_schema(engine)
    migrate(engine)
    require_current_schema(engine)


def test_a_database_of_version_1_keeps_its_drafts(engine: Engine) -> None:
    with engine.begin() as connection:
        alembic.command.downgrade(database._alembic(connection), "0001")
        for statement in VERSION_1:
            connection.execute(text(statement))
    migrate(engine)
    require_current_schema(engine)
    with Sessions(engine)() as session:
        reports = session.exec(select(Report).order_by(col(Report.id))).all()
        delivery = session.exec(select(Delivery)).one()
        instances = session.exec(select(Instance).order_by(col(Instance.id))).all()
    assert [(each.id, each.sha256, each.variant) for each in instances] == [(1, "1", 0), (2, "2", 1)]
    assert [each.findings for each in reports] == ["No new effusion.", "Sample text."]
    assert [(each.flags, each.model_is_synthetic) for each in reports] == [("[]", False), ("[]", True)]
    assert (delivery.report_id, delivery.state, delivery.created_at) == (reports[0].id, "delivered", NOON)


_AT = "'2026-03-01 12:00:00+00:00'"
_REST = f"'1', 'd', 6, 0.25, 0.5, {_AT})"
VERSION_1 = (
    f"INSERT INTO study VALUES (1, '1.2', 'complete', {_AT}, {_AT})",
    "INSERT INTO series VALUES (1, 1, '1.2.3', 'DX')",
    f"INSERT INTO instance VALUES (1, 1, '1', '1', '1', '1', 'a', 'A', {_AT}, '', '', '', '', '', '', true)",
    f"INSERT INTO instance VALUES (2, 1, '1', '1', '1', '2', 'a', 'A', {_AT}, '', '', '', '', '', '', true)",
    f"INSERT INTO job VALUES (1, 1, 1, 'done', 5, 1, {_AT}, NULL, NULL, '', {_AT})",
    f"INSERT INTO job VALUES (2, 1, 2, 'done', 5, 1, {_AT}, NULL, NULL, '', {_AT})",
    f"INSERT INTO report VALUES (1, 1, 1, 'No new effusion.', '', 'LLaVA-Rad', {_REST}",
    f"INSERT INTO report VALUES (2, 2, 1, 'Sample text.', '', 'LLaVA-Rad demonstration (random weights)', {_REST}",
    f"INSERT INTO delivery VALUES (1, 1, 'sr', 'pacs', 'delivered', 5, 1, {_AT}, NULL, NULL, '', '', '', {_AT})",
)


def test_a_missing_schema_says_where_it_was_looked_for_and_what_to_do(settings: Settings) -> None:
    engine = open_database(settings)
    words = rf"no node lives in {settings.data_dir} \(there is no settings file at .*dicom-node\.toml\): run .*migrate"
    with pytest.raises(Permanent, match=words):
        require_current_schema(engine)
    engine.dispose()


def test_sqlite_commits_to_the_disk(sqlite_engine: Engine) -> None:
    with sqlite_engine.connect() as connection:
        values = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in PRAGMAS}
    assert values == PRAGMAS


def test_a_database_of_before_is_no_longer_for_every_account_to_read(settings: Settings) -> None:
    first = open_database(settings)
    migrate(first)
    files = sorted(settings.data_dir.glob("node.sqlite*"))
    for each in files:
        each.chmod(0o644)
    open_database(settings).dispose()
    assert [each.name for each in files] == ["node.sqlite", "node.sqlite-shm", "node.sqlite-wal"]
    assert [each.stat().st_mode & 0o777 for each in files] == [0o640] * 3
    first.dispose()


def test_commits_do_not_lengthen_a_log_that_was_made_long(sqlite_engine: Engine) -> None:
    log = Path(f"{sqlite_engine.url.database}-wal")
    lengthen_log(sqlite_engine)
    long = log.stat().st_size
    sessions = Sessions(sqlite_engine)
    for _ in range(20):
        with sessions.begin() as session:
            add_study(session)
    assert log.stat().st_size == long
    with sessions() as session:
        assert len(session.exec(select(Study)).all()) == 20


def test_what_made_the_log_long_was_never_there(engine: Engine) -> None:
    lengthen_log(engine)
    require_current_schema(engine)
    assert "never_committed" not in inspect(engine).get_table_names()
    with engine.connect() as connection, connection.begin():
        connection.execute(text("CREATE TABLE never_committed (content TEXT)"))
        connection.execute(text("DROP TABLE never_committed"))


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}  # 2 is FULL


def test_times_come_back_aware_and_in_utc(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_study(session, last_received_at=NOON.astimezone(timezone(timedelta(hours=5))))
    received_at = only(sessions, Study).last_received_at
    assert (received_at, received_at.tzinfo) == (NOON, UTC)


def test_a_naive_time_is_refused(sessions: Sessions) -> None:
    with sessions() as session, pytest.raises(StatementError, match="naive datetime"):
        add_study(session, last_received_at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_row_without_its_parent_is_refused(sessions: Sessions) -> None:
    with sessions() as session:
        session.add(Series(study_id=4711, series_instance_uid="1.2"))
        with pytest.raises(IntegrityError):
            session.flush()


def test_postgresql_compiles_no_query(postgres_engine: Engine) -> None:
    for _ in range(2):  # also on a connection that was given back
        with postgres_engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW jit").scalar() == "off"
