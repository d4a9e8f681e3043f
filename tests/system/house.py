"""The whole house for system tests: the node as its users start it, real peers beside it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from living_roles import living_roles
from pydicom.filereader import read_file_meta_info
from sqlalchemy import Engine
from sqlmodel import select
from waiting import free_port

from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
from dicom_node.models import Study
from dicom_node.setting_sources import CONFIG_FILE_VARIABLE
from dicom_node.timeline import StudyStatus, study_status

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_TOOLS = REPOSITORY.parent / "shared" / "tools"
SETTLED = frozenset({"done", "failed", "skipped"})
_LOOK_EVERY_S = 0.05


def require(*programs: str) -> None:
    """Skip the test at home, and fail it in CI, where a program is not installed."""
    missing = [each for each in programs if not shutil.which(each)]
    if missing:
        absent(f"not installed: {', '.join(missing)} (tests/install_peers.sh installs it)")


def absent(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def shared_tool(*parts: str) -> Path:
    """A file of the tools beside the repository; skips the test where they are absent."""
    path = SHARED_TOOLS.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{Path(*parts)} is absent (expected below {SHARED_TOOLS})")
    return path


def wait_until(is_reached: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Look until it is so; fail with `what` when the time has run out."""
    deadline = time.monotonic() + timeout_s
    while not is_reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Node:
    """`dicom-node up` in a folder of its own. `toml` is added to the settings file."""

    folder: Path
    toml: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    _engine: Engine | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "dicom-node.toml"
        common = f'data_dir = "{self.folder / "data"}"\nport = {self.port}\nhttp_port = 0\npoll_interval_s = 0.1\n'
        self.config.write_text(common + self.toml, encoding="utf-8")
        self.log = self.folder / "node.log"

    @property
    def environment(self) -> dict[str, str]:
        # One thread a process: the tests share few cores.
        return {
            **os.environ,
            CONFIG_FILE_VARIABLE: str(self.config),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "default",
        }

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dicom_node", "up"]
            self.process = subprocess.Popen(
                command, stderr=log, stdout=log, stdin=subprocess.DEVNULL, env=self.environment, cwd=self.folder
            )
        wait_until(lambda: is_open(self.port), 60, "the node listens")

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self._close_database()

    def kill_all(self) -> None:
        """kill -9 of the supervisor and of every role."""
        children = list(self.role_pids().values())
        if self.process:
            self.process.kill()
            self.process.wait()
        for pid in children:
            kill(pid)
        self._close_database()

    def kill_supervisor(self) -> None:
        """kill -9 of the supervisor alone; the port is free when its scp has noticed."""
        if self.process:
            self.process.kill()
            self.process.wait()
        wait_until(lambda: not is_open(self.port), 60, "the roles end without their supervisor")

    def role_pids(self) -> dict[str, int]:
        """The living roles' processes: those that the log says were started, last first."""
        return living_roles(self.log, self.process.pid) if self.process else {}

    def command(self, *arguments: str) -> str:
        """Run a `dicom-node` command against this node and return what it prints."""
        command = [sys.executable, "-m", "dicom_node", *arguments]
        environment = {**self.environment, "COLUMNS": "250"}
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def settings(self) -> Settings:
        before = os.environ.get(CONFIG_FILE_VARIABLE)
        os.environ[CONFIG_FILE_VARIABLE] = str(self.config)
        try:
            return Settings()
        finally:
            if before is None:
                del os.environ[CONFIG_FILE_VARIABLE]
            else:
                os.environ[CONFIG_FILE_VARIABLE] = before

    def sessions(self) -> Sessions:
        """Of the node's database; closed when the node is stopped."""
        if self._engine is None:
            self._engine = open_database(self.settings())
        return Sessions(self._engine)

    def _close_database(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def statuses(self, sessions: Sessions) -> dict[str, StudyStatus]:
        """Where each study is, by Study Instance UID."""
        with sessions() as session:
            studies = session.exec(select(Study)).all()
            return {study.study_instance_uid: study_status(session, study) for study in studies}

    def wait_settled(self, count: int, timeout_s: float = 120) -> dict[str, StudyStatus]:
        """Wait until so many studies are done, failed or skipped, and no other is under way."""
        sessions = self.sessions()

        def settled() -> bool:
            statuses = self.statuses(sessions)
            return len(statuses) >= count and all(status.where in SETTLED for status in statuses.values())

        wait_until(settled, timeout_s, f"{count} studies are settled")
        return self.statuses(sessions)


def kill(pid: int) -> None:
    """kill -9 of a process of ours; gone already is fine."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# storescu proposes compressed transfer syntaxes only when told to (PS3.5 annex A).
_PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


def storescu(port: int, file: Path, *, calling_ae: str = "STORESCU") -> subprocess.CompletedProcess[str]:
    """DCMTK's storescu, proposing the file's own transfer syntax; its status is 0 only after a C-STORE success."""
    syntax = read_file_meta_info(file).get("TransferSyntaxUID", "")
    command = ["storescu", "-v", "-R", "-aet", calling_ae, "-aec", "CXRNODE", _PROPOSE.get(syntax, "-xe")]
    return subprocess.run(
        [*command, "127.0.0.1", str(port), str(file)], capture_output=True, text=True, timeout=120, check=False
    )
