"""What the tests share: settings, both databases, a broker, and the guard that no patient data is logged."""

import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseServer

import pytest
import structlog
from foreign import require_peer, running
from postgres import Postgres
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, create_engine, text
from sqlmodel import SQLModel
from waiting import free_port, wait_until

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.database import Sessions, migrate, open_database

# The patient of every test is CANARY^PHI, with CANARY in all that identifies.
_CANARY = "CANARY"
_LOOKS_EACH_S = 0.02


def pytest_configure() -> None:
    """Tests begin without the settings of whoever runs them, and see the log as the allow-list leaves it."""
    for name in [each for each in os.environ if each.startswith("DICOM_NODE_")]:
        del os.environ[name]
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, logs._only_allowed, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.getLogger("dicom_node").setLevel(logging.DEBUG)
    # A server looks whether it shall stop each half second: with a thousand servers that is what testing consists of.
    BaseServer.serve_forever.__defaults__ = (_LOOKS_EACH_S,)


def pytest_collection_finish() -> None:
    """Look for garbage among what comes from now on alone.

    pynetdicom's servers collect it at each 60th look, which is each second here: of torch, of thousands of tests and of
    all that they import, that took half of the time of whoever talked to a PACS in this process.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The guard: fail a test that logged or printed the patient, in this process or one that it started."""
    report = yield
    spoken = [(title, words) for title, words in report.sections if title.endswith(f" {report.when}")]
    leaks = [f"{title}: {line}" for title, words in spoken for line in words.splitlines() if _CANARY in line]
    if leaks and report.passed:
        report.outcome, report.longrepr = "failed", "\n".join(["patient data was logged or printed:", *leaks])
    return report


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Defaults, with a data folder of the test's own and any free port."""
    made = Settings(data_dir=tmp_path / "node", port=0, http_port=0, min_free_bytes=0)
    made.data_dir.mkdir()
    return made


@pytest.fixture
def sqlite_engine(settings: Settings, _sqlite_template: Path) -> Iterator[Engine]:
    """The embedded database in the settings' data folder, schema current."""
    shutil.copyfile(_sqlite_template, settings.data_dir / "node.sqlite")
    with _opened(settings) as engine:
        yield engine


@pytest.fixture
def postgres_engine(settings: Settings, postgres_url: str) -> Iterator[Engine]:
    """A fresh database on PostgreSQL, schema current."""
    with _opened(settings.model_copy(update={"database_url": SecretStr(postgres_url)})) as engine:
        yield engine


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each database in turn."""
    return request.getfixturevalue("sqlite_engine" if request.param == "sqlite" else "postgres_engine")


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return Sessions(engine)


@pytest.fixture
def sqlite_sessions(sqlite_engine: Engine) -> Sessions:
    return Sessions(sqlite_engine)


@pytest.fixture
def postgres_sessions(postgres_engine: Engine) -> Sessions:
    return Sessions(postgres_engine)


@pytest.fixture
def postgres_url(postgres_server: Engine) -> str:
    """The URL of an empty database with the current schema on the PostgreSQL of the session."""
    with postgres_server.connect() as connection:
        # Whatever a test left open may hold locks.
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
        for table in reversed(SQLModel.metadata.sorted_tables):
            connection.execute(table.delete())
    return str(postgres_server.url)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that keeps nothing, for the session."""
    program, port = require_peer("redis-server"), free_port()
    with tempfile.TemporaryDirectory(prefix="test-redis-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        with running([program, *options]):
            url = f"redis://127.0.0.1:{port}/0"
            with Redis.from_url(url) as client:
                wait_until(lambda: _answers(client), "Redis answers")
            yield url


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Settings(data_dir=tmp_path_factory.mktemp("template"))
    with _opened(made) as engine:
        migrate(engine)
    return made.data_dir / "node.sqlite"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Engine]:
    """A throw-away PostgreSQL that trades durability for speed, reached by a socket in its own folder."""
    initdb, program = require_peer("initdb"), require_peer("postgres")
    careless = [f"-c{each}=off" for each in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")]
    with tempfile.TemporaryDirectory(prefix="test-postgres-", ignore_cleanup_errors=True) as folder:
        postgres = Postgres(Path(folder), initdb, program, careless)
        postgres.start()
        server = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
        with _opened(Settings(database_url=SecretStr(postgres.url))) as engine:
            migrate(engine)
        yield server
        server.dispose()
        postgres.stop()


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the test's own that keeps what it commits, schema current."""
    initdb, program = require_peer("initdb"), require_peer("postgres")
    with tempfile.TemporaryDirectory(prefix="test-postgres-", ignore_cleanup_errors=True) as folder:
        postgres = Postgres(Path(folder), initdb, program)
        postgres.start()
        with _opened(Settings(database_url=SecretStr(postgres.url))) as engine:
            migrate(engine)
        yield postgres
        postgres.stop()


@contextmanager
def _opened(settings: Settings) -> Iterator[Engine]:
    engine = open_database(settings)
    try:
        yield engine
    finally:
        engine.dispose()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one core: a small model is no faster on more, and the tests share few."""
    import torch  # not for the tests that need none: it takes seconds

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
