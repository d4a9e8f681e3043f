"""`dicom-node up`: a dead role is started again, and none outlives its supervisor."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from living_roles import is_alive, living_roles
from waiting import free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import migrate, open_database
from dicom_node.errors import Permanent
from dicom_node.roles import roles_of
from dicom_node.sole import alone_on

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


def roles_below(supervisor: "subprocess.Popen[bytes]", tmp_path: Path) -> Callable[[], dict[str, int]]:
    return lambda: living_roles(tmp_path / "log", supervisor.pid)


@pytest.mark.system
def test_a_second_node_on_one_data_folder_does_not_start(tmp_path: Path) -> None:
    with started(tmp_path, "up") as first:
        wait_until(lambda: "role_started" in (tmp_path / "log").read_text(), "the node starts", START_TIMEOUT_S)
        with started(tmp_path, "up") as second:
            assert second.wait(60) == 1
    told = " ".join((tmp_path / "log").read_text().split())
    assert f"a node (pid {first.pid}) already runs on {tmp_path / 'node'}" in told


def test_a_lock_goes_with_the_process_that_held_it(tmp_path: Path) -> None:
    with alone_on(tmp_path):
        assert (tmp_path / "node.lock").read_text() == str(os.getpid())
    with alone_on(tmp_path):
        pass


def test_a_lock_that_another_account_has_made_is_told(tmp_path: Path) -> None:
    """As a folder, which can be opened by nobody, and so not by root."""
    (tmp_path / "node.lock").mkdir()
    words = rf"node\.lock cannot be opened \(Is a directory\): give uid {os.getuid()} all that is in {tmp_path}"
    with pytest.raises(Permanent, match=words), alone_on(tmp_path):
        pass


@pytest.mark.system
def test_a_dead_role_is_started_again_and_none_outlives_the_supervisor(tmp_path: Path) -> None:
    with started(tmp_path, "up") as supervisor:
        roles = roles_below(supervisor, tmp_path)
        wait_until(lambda: roles().keys() == set(roles_of(Settings())), "all roles run", START_TIMEOUT_S)
        before = roles()["sweep"]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: roles().get("sweep", before) != before, "it runs again", START_TIMEOUT_S)
        assert '"event": "role_died"' in (tmp_path / "log").read_text()
        name = Path("/proc") / str(roles()["sweep"]) / "cmdline"
        wait_until(lambda: name.read_bytes().startswith(b"dicom-node sweep"), "`ps` shows which role it is")
        living = roles()
        supervisor.kill()
        supervisor.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in living.values()), "all roles ended", START_TIMEOUT_S)


@pytest.mark.system
def test_a_supervisor_that_is_told_to_stop_stops_its_roles(tmp_path: Path) -> None:
    with started(tmp_path, "up") as supervisor:
        roles = roles_below(supervisor, tmp_path)
        wait_until(roles, "a role runs", START_TIMEOUT_S)  # others are not there yet, or have just been forked
        supervisor.terminate()
        assert supervisor.wait(60) == 0
    words = (tmp_path / "log").read_text()
    ended = words.count('"role_stopped"') + words.count('"role_cannot_run"')  # the worker has no model
    assert words.count('"role_started"') == ended > 0
    assert "role_killed" not in words
    assert "Traceback" not in words


def test_a_role_that_is_told_to_stop_ends_well(tmp_path: Path) -> None:
    engine = open_database(Settings(data_dir=tmp_path / "node"))
    migrate(engine)
    engine.dispose()
    with started(tmp_path, "scp") as role:
        wait_until(lambda: '"listening"' in (tmp_path / "log").read_text(), "the SCP listens", START_TIMEOUT_S)
        role.terminate()
        assert role.wait(60) == 0, (tmp_path / "log").read_text()


def test_a_role_without_a_schema_says_what_to_do(tmp_path: Path) -> None:
    with started(tmp_path, "sweep") as role:
        assert role.wait(60) == 1
    assert "`dicom-node migrate` to begin a node" in (tmp_path / "log").read_text()


def test_a_signal_that_another_thread_hears_stops_the_role_too() -> None:
    """A main thread that waits is not woken by it, and would run no handler."""
    code = """
import signal, threading
from dicom_node.roles import stop_on_signals
stop, there = stop_on_signals(), threading.Event()
other = threading.Thread(target=there.wait, daemon=True)
other.start()
signal.pthread_kill(other.ident, signal.SIGTERM)
print(stop.wait(20))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"


def test_what_a_fork_breaks_with_is_told_by_places_not_by_values() -> None:
    code = """
from dicom_node import logs
from dicom_node.forks import LifeLine, fork
logs.configure("scp", "INFO")
def work(stop):
    raise KeyError("CANARY")
process = fork("child", LifeLine(), work)
process.join()
print(process.exitcode)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, "KeyError" in done.stderr, "CANARY" in done.stderr) == ("1\n", True, False)
