"""`dicom-node import`, as an operator runs it."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from audited import transfers
from doubles import FrozenClock
from films import dx_bytes, make_dx
from rows import all_of
from test_import import film
from test_scp import listening, store
from waiting import LONG_S

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.receive.intake import SUCCESS, Receiver
from dicom_node.storage import InstanceStore


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two films, one of them deeper, beside what is none."""
    root = tmp_path / "medium"
    (root / "a" / "deep er").mkdir(parents=True)
    (root / "film").write_bytes(film("one"))
    (root / "a" / "deep er" / "film.dcm").write_bytes(film("two"))
    (root / "a" / "read me.txt").write_text("no film")
    (root / "empty").touch()
    return root


# The command


def command(settings: Settings, *arguments: str, database_url: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DICOM_NODE_DATA_DIR": str(settings.data_dir),
        "DICOM_NODE_DATABASE_URL": database_url,
        "DICOM_NODE_MIN_FREE_BYTES": "0",
        "COLUMNS": "200",
    }
    call = [sys.executable, "-m", "dicom_node", "import", *arguments]
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_says_what_became_of_the_files(settings: Settings, sqlite_sessions: Sessions, folder: Path) -> None:
    done = command(settings, str(folder), "--json")
    counts = {"imported": 2, "already_there": 0, "skipped": 2, "refused": 0}
    expected = {**counts, "skipped_because": {"not DICOM": 2}, "refused_because": {}}
    assert (done.returncode, json.loads(done.stdout)) == (0, expected)
    (folder / "broken").write_bytes(dx_bytes(SOPInstanceUID=None))
    done = command(settings, str(folder))
    assert done.returncode == 1
    row = next(line for line in done.stdout.splitlines() if "refused" in line)
    assert "no SOP Class UID" in row
    assert "broken" in row


def test_what_is_imported_is_in_the_audit_trail_once(
    settings: Settings, sqlite_sessions: Sessions, folder: Path
) -> None:
    (folder / "other").write_bytes(film("three", StudyInstanceUID="1.2.3", PatientID="CANARY-OTHER"))
    for _ in range(2):
        assert command(settings, str(folder)).returncode == 0
    assert sorted(transfers(settings, "110107")) == [(1, "CANARY-OTHER"), (2, "CANARY-ID")]


@pytest.mark.parametrize("is_postgres", [False, True], ids=["sqlite", "postgresql"])
def test_films_are_imported_while_the_node_receives(
    is_postgres: bool, settings: Settings, folder: Path, request: pytest.FixtureRequest
) -> None:
    """The import is another process; the node stores all the while."""
    engine = request.getfixturevalue("postgres_engine" if is_postgres else "sqlite_engine")
    for number in range(30):
        (folder / f"film{number}").write_bytes(film(f"film {number}"))
    receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(engine), FrozenClock())
    stop, statuses = threading.Event(), []
    with listening(settings, receiver) as port:

        def send() -> None:
            while not stop.is_set():
                ds = make_dx(SOPInstanceUID=f"1.2.{len(statuses)}")
                ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
                statuses.append(store(port, ds))

        sender = threading.Thread(target=send)
        sender.start()
        url = engine.url.render_as_string(hide_password=False) if is_postgres else ""
        done = command(settings, str(folder), "--json", database_url=url)
        stop.set()
        sender.join(LONG_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["imported"] == 32
    assert set(statuses) == {SUCCESS}
    assert len(all_of(receiver.sessions, Instance)) == 32 + len(statuses)
