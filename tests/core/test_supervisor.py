"""`dicom-node up`: a dead role is started again, and none outlives its supervisor."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import make_sessions, migrate, open_database, require_current_schema
from dicom_node.errors import NodeError

START_TIMEOUT_S = 90.0


def start(tmp_path: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "DICOM_NODE_DATA_DIR": str(tmp_path / "node"),
        "DICOM_NODE_PORT": str(free_port()),
        "DICOM_NODE_MODEL_DIR": str(tmp_path / "no-model"),
        "DICOM_NODE_CONFIG": str(tmp_path / "node.toml"),
    }
    command = [sys.executable, "-m", "dicom_node", *arguments]
    with (tmp_path / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environment, cwd=tmp_path)


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


def is_current(data_dir: Path) -> bool:
    engine = open_database(Settings(data_dir=data_dir))
    try:
        require_current_schema(engine)
    except NodeError:
        return False
    finally:
        engine.dispose()
    return True


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    (tmp_path / "node.toml").touch()
    process = start(tmp_path, "up")
    try:
        wait_until(lambda: {"scp", "sweep", "relay"} <= children_of(process.pid).keys(), "roles run", START_TIMEOUT_S)
        wait_until(lambda: (tmp_path / "log").read_text().count('"listening"') == 1, "the SCP listens", START_TIMEOUT_S)
        yield process
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.system
def test_a_dead_role_is_started_again(supervisor: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    before = children_of(supervisor.pid)["scp"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: children_of(supervisor.pid).get("scp", before) != before, "the SCP runs again", START_TIMEOUT_S)
    assert is_current(tmp_path / "node")
    supervisor.terminate()
    assert supervisor.wait(60) == 0
    assert '"event": "role_died"' in (tmp_path / "log").read_text()


@pytest.mark.system
def test_no_role_outlives_a_supervisor_that_was_killed(supervisor: "subprocess.Popen[bytes]") -> None:
    roles = children_of(supervisor.pid)
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in roles.values()), "all roles ended", START_TIMEOUT_S)


@pytest.mark.parametrize("supervised", [[], ["--supervised"]])
def test_a_role_that_is_told_to_stop_ends_well(supervised: list[str], tmp_path: Path) -> None:
    (tmp_path / "node.toml").touch()
    engine = open_database(Settings(data_dir=tmp_path / "node"))
    migrate(engine)
    make_sessions(engine)
    engine.dispose()
    role = start(tmp_path, "scp", *supervised)
    wait_until(lambda: '"listening"' in (tmp_path / "log").read_text(), "the SCP listens", START_TIMEOUT_S)
    role.terminate()
    assert role.wait(60) == 0, (tmp_path / "log").read_text()
    assert role.stdin is not None
    role.stdin.close()


def test_a_role_without_a_schema_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "node.toml").touch()
    role = start(tmp_path, "sweep")
    assert role.wait(60) == 1
    assert "run `dicom-node migrate`" in (tmp_path / "log").read_text()
    assert role.stdin is not None
    role.stdin.close()
