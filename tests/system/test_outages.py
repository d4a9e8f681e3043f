"""What objects are received through: PostgreSQL stopped for a while, the clock set back.

OUTAGE_S=60 stops PostgreSQL for a minute.
"""

import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from house import require
from objects_kept import SELECT, found, incomplete, lost
from postgres import Postgres
from pydantic import SecretStr
from scp_role import Role
from senders import SUCCESS, Senders
from sqlalchemy import Engine, text
from sqlmodel import func, select
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
from dicom_node.models import Study
from dicom_node.states import StudyState

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

OUTAGE_S = float(os.environ.get("OUTAGE_S", "2"))
OUT_OF_RESOURCES = 0xA700
HOUR_S = 3600
LONG_S = 120.0
_SHIM = Path(__file__).with_name("clock_shim.c")


class Clock:
    """The time of day of processes that have its environment."""

    def __init__(self, folder: Path) -> None:
        require("cc")
        shim, self._offset = folder / "clock_shim.so", folder / "offset"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(shim), str(_SHIM), "-ldl"], check=True)
        self._offset.write_bytes(bytes(8))
        self.environment = {**os.environ, "LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(self._offset)}

    def set(self, offset_s: int) -> None:
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", offset_s * 1_000_000_000))


def test_postgresql_stopped_for_a_while_loses_nothing(tmp_path: Path, postgres: Postgres) -> None:
    settings = Settings(data_dir=tmp_path / "node", min_free_bytes=0, database_url=SecretStr(postgres.url))
    with _receiving(settings, tmp_path) as senders:
        senders.receive(10)
        postgres.stop()
        senders.be_refused(OUT_OF_RESOURCES, 5)
        threading.Event().wait(OUTAGE_S)
        senders.be_refused(OUT_OF_RESOURCES, 5)
        postgres.start()
        senders.receive(10)
        senders.pause()
    assert set(senders.statuses) == {SUCCESS, OUT_OF_RESOURCES}
    _check(settings, tmp_path, senders)


def test_a_clock_that_is_set_back_an_hour_loses_nothing_and_leaves_no_study_open(
    settings: Settings, sqlite_engine: Engine, tmp_path: Path
) -> None:
    clock, sessions = Clock(tmp_path), Sessions(sqlite_engine)
    with _receiving(settings, tmp_path, "sweep", environment=clock.environment) as senders:
        senders.receive(15)
        clock.set(-HOUR_S)
        senders.receive(15)
        senders.pause()

        def is_closed() -> bool:
            with sessions() as session:
                is_open = select(func.count()).where(Study.state != StudyState.COMPLETE)
                return session.exec(is_open).one() == 0

        wait_until(is_closed, "all studies are complete", timeout_s=LONG_S)
    _check(settings, tmp_path, senders)


@contextmanager
def _receiving(
    settings: Settings, folder: Path, *more: str, environment: dict[str, str] | None = None
) -> Iterator[Senders]:
    own: dict[str, object] = {"data_dir": settings.data_dir, "min_free_bytes": 0, "idle_timeout_s": 1}
    if settings.database_url is not None:
        own["database_url"] = settings.sqlalchemy_url
    scp = Role(folder / "scp.log", own)
    with ExitStack() as running:
        for role in (scp, *(Role(folder / f"{name}.log", own, name) for name in more)):
            running.callback(role.end)
            role.start(environment or os.environ)
        yield running.enter_context(Senders(scp.port, sizes=(1_000, 20_000)))


def _check(settings: Settings, folder: Path, senders: Senders) -> None:
    engine = open_database(settings)
    with Sessions(engine)() as session:
        rows = found(tuple(each) for each in session.connection().execute(text(SELECT)))
    engine.dispose()
    assert lost(settings.instances_dir, rows, senders.acknowledged) == []
    assert incomplete(settings.instances_dir, rows) == []
    log = (folder / "scp.log").read_text(encoding="utf-8")
    assert not [word for word in ("uncaught_exception", "Traceback", "C001") if word in log]
