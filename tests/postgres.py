"""A PostgreSQL for tests, reached by a socket in its own folder; it can be stopped and started again."""

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from waiting import LONG_S, wait_until

from dicom_node.database import Sessions


@dataclass
class Postgres:
    """initdb, postgres: the programs."""

    folder: Path
    initdb: str
    postgres: str
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.url = f"postgresql+psycopg://postgres@/postgres?host={self.folder}"
        self._as_user = _not_as_root(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        made = [self.initdb, "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*made, "--no-sync"], check=True, capture_output=True, timeout=120, **self._as_user)

    def start(self) -> None:
        serve = [self.postgres, "-D", self._data, "-k", str(self.folder), "-h", "", "-cmax_connections=200"]
        self._process = subprocess.Popen(
            [*serve, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as_user
        )
        engine = create_engine(self.url)
        wait_until(lambda: _accepts(engine), "PostgreSQL accepts connections", timeout_s=3 * LONG_S)
        engine.dispose()

    def stop(self) -> None:
        """At once, whatever is under way: it recovers from its log at the next start. Harmless when it is stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(LONG_S)
            self._process = None

    @property
    def _data(self) -> str:
        return str(self.folder / "data")


def waits_for_a_lock(sessions: Sessions) -> bool:
    """Whether anybody does, of those that use the server."""
    with sessions() as session:
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(session.connection().execute(waiting).scalar())


def _not_as_root(folder: Path) -> dict[str, object]:
    """PostgreSQL refuses to run as root: then it runs as Debian's user, in a folder that is theirs."""
    if os.getuid() != 0:
        return {}
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres, and PostgreSQL does not run as root")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": str(folder)}


def _accepts(server: Engine) -> bool:
    try:
        with server.connect():
            return True
    except OperationalError:
        return False
