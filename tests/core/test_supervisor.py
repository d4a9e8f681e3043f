"""`dicom-node up`: a dead role is started again, and none outlives its supervisor."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import migrate, open_database
from dicom_node.roles import roles_of

START_TIMEOUT_S = 90.0


@contextmanager
def started(tmp_path: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`dicom-node` with these arguments, its log in a file; it is stopped at the end."""
    (tmp_path / "node.toml").touch()
    environment = {
        **os.environ,
        "DICOM_NODE_DATA_DIR": str(tmp_path / "node"),
        "DICOM_NODE_PORT": str(free_port()),
        "DICOM_NODE_HTTP_PORT": "0",
        "DICOM_NODE_MODEL_DIR": str(tmp_path / "no-model"),
        "DICOM_NODE_CONFIG": str(tmp_path / "node.toml"),
    }
    command = [sys.executable, "-m", "dicom_node", *arguments]
    with (
        (tmp_path / "log").open("ab") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environment, cwd=tmp_path) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def children_of(pid: int) -> dict[str, int]:
    """The roles that run below a process, by name."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == pid and b"--supervised" in words:
            found[words[words.index(b"--supervised") - 1].decode()] = int(entry.name)
    return found


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.system
def test_a_dead_role_is_started_again_and_none_outlives_the_supervisor(tmp_path: Path) -> None:
    with started(tmp_path, "up") as supervisor:
        expected = set(roles_of(Settings()))
        wait_until(lambda: children_of(supervisor.pid).keys() == expected, "all roles run", START_TIMEOUT_S)
        before = children_of(supervisor.pid)["sweep"]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: children_of(supervisor.pid).get("sweep", before) != before, "it runs again", START_TIMEOUT_S)
        assert '"event": "role_died"' in (tmp_path / "log").read_text()
        roles = children_of(supervisor.pid)
        supervisor.kill()
        supervisor.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in roles.values()), "all roles ended", START_TIMEOUT_S)


@pytest.mark.parametrize("supervised", [[], ["--supervised"]])
def test_a_role_that_is_told_to_stop_ends_well(supervised: list[str], tmp_path: Path) -> None:
    engine = open_database(Settings(data_dir=tmp_path / "node"))
    migrate(engine)
    engine.dispose()
    with started(tmp_path, "scp", *supervised) as role:
        wait_until(lambda: '"listening"' in (tmp_path / "log").read_text(), "the SCP listens", START_TIMEOUT_S)
        role.terminate()
        assert role.wait(60) == 0, (tmp_path / "log").read_text()


def test_a_role_without_a_schema_says_what_to_do(tmp_path: Path) -> None:
    with started(tmp_path, "sweep") as role:
        assert role.wait(60) == 1
    assert "run `dicom-node migrate`" in (tmp_path / "log").read_text()
