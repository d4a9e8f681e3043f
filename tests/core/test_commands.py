"""The command line, as a script meets it: exit statuses, JSON, and what an export holds."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from doubles import NOON, FrozenClock
from rich.console import Console
from rows import add_commitment, add_delivery, add_job, add_report, add_study, all_of, only, receive
from sqlalchemy.exc import OperationalError
from sqlmodel import select
from typer.testing import CliRunner, Result

from dicom_node.audit import who_runs_this
from dicom_node.cli import app
from dicom_node.clock import utc_now
from dicom_node.commands import live
from dicom_node.config import Settings
from dicom_node.database import Sessions, make_folder
from dicom_node.errors import Permanent
from dicom_node.exporting import export_study
from dicom_node.models import Heartbeat, Instance, Study, Transition
from dicom_node.product import software_version
from dicom_node.storage import InstanceStore, StoredFile
from workers.benchmark import Benchmark

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`dicom-node` on the test's node."""
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [*arguments])


def add_delivered(sessions: Sessions, settings: Settings) -> int:
    """A study of one film with a draft that a PACS and a RIS have."""
    with sessions.begin() as session:
        instance = receive(session, InstanceStore(settings.instances_dir))
        study = session.exec(select(Study)).one()
        study.state = "complete"
        report = add_report(session, add_job(session, study, state="done"), instance)
        add_delivery(session, report, state="delivered", payload=b"DICM", ack_code="0000")
        add_delivery(session, report, state="delivered", payload=b"MSH|", ack_code="AA", kind="oru", destination="ris")
        return study.id or 0


def test_it_says_which_release_it_is(run: Run) -> None:
    assert run("--version").stdout == f"{software_version()}\n"


def test_status_says_in_json_where_every_study_is(run: Run, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        add_job(session, add_study(session, state="complete"), state="failed", reason="undecodable")
    (found,) = json.loads(run("status", "--json").stdout)
    assert (found["study_id"], found["where"], found["why"]) == (1, "failed", "undecodable")
    assert found["received_at"] == "2026-03-01T12:00:00+00:00"


@pytest.mark.usefixtures("sqlite_sessions")
@pytest.mark.parametrize(
    "command", ["status 99", "retry 99", "resend 99 pacs", "acknowledge 99", "withdraw 99 --reason no", "export 99 out"]
)
def test_a_number_of_no_study_is_told_alike_by_every_command(command: str, run: Run) -> None:
    done = run(*command.split())
    assert str(done.exception) == "study 99 does not exist: `dicom-node status` lists those that do"


def test_all_that_failed_is_tried_again_or_what_failed_at_one_destination(run: Run, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        for destination in ("pacs", "ris", "pacs"):
            report = add_report(session, add_job(session, state="failed"))
            add_delivery(session, report, state="failed", payload=b"DICM", destination=destination)
        add_job(session, state="failed", seen_at=NOON)
    at_pacs = run("retry", "--failed", "--destination", "pacs")
    assert (at_pacs.exit_code, at_pacs.stdout.splitlines()) == (
        0,
        ["study 1: sends again to pacs", "study 3: sends again to pacs"],
    )
    assert run("retry", "--failed").stdout.splitlines() == ["study 2: sends again to ris"]
    assert run("retry", "--failed").stdout == ""
    assert {run(*words).exit_code for words in (["retry"], ["retry", "1", "--failed"])} == {2}


def test_the_timeline_of_one_study_comes_as_words_or_json(run: Run, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        add_study(session)
    words, found = run("status", "1").stdout, json.loads(run("status", "1", "--json").stdout)
    assert "study 1: receiving (first instance received)" in words
    assert found["timeline"] == [
        {"at": "2026-03-01T12:00:00+00:00", "what": "study 1: receiving (first instance received)"}
    ]


def test_commitments_come_as_json(run: Run, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        add_commitment(session)
    (found,) = json.loads(run("commitments", "--json").stdout)
    assert (found["calling_ae"], found["objects"], found["not_committed"], found["state"]) == (
        "MODALITY",
        1,
        0,
        "pending",
    )
    assert "MODALITY" in run("commitments").stdout


def test_health_comes_as_json_and_by_exit_status(run: Run, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        session.add(Heartbeat(role="scp", host="a", well_at=utc_now()))
    asked = run("health", "--json")
    found = json.loads(asked.stdout)
    assert (asked.exit_code, found["is_well"], found["roles"][0]["role"]) == (1, False, "scp")
    assert found["roles"][0]["is_well"]
    assert any(each.startswith("worker: does not run") for each in found["absent"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["retry", "1"], "asked to resend"),
        (["resend", "1", "pacs"], "asked to send it to pacs"),
        (["acknowledge", "1"], "seen by"),
        (["withdraw", "1", "--reason", "wrong side"], "withdrew its drafts: wrong side"),
    ],
)
def test_who_acts_on_a_study_by_a_command_is_in_its_timeline_and_in_the_audit_trail(
    arguments: list[str], words: str, run: Run, settings: Settings, sqlite_sessions: Sessions
) -> None:
    with sqlite_sessions.begin() as session:
        report = add_report(session, add_job(session, add_study(session, patient_id="P1"), state="failed"))
        add_delivery(session, report, state="failed", payload=b"DICM")
    assert run(*arguments).exit_code == 0
    name = who_runs_this().name
    moves = [each.reason for each in all_of(sqlite_sessions, Transition)]
    assert any(words in each and name in each for each in moves)
    trail = "".join(each.read_text() for each in settings.audit_dir.iterdir())
    (told,) = (line for line in trail.splitlines() if '"110103"' in line)
    assert all(each in told for each in ('EventActionCode="U"', f'UserID="{name}"', 'ParticipantObjectID="P1"'))


def test_users_come_as_json(run: Run, sqlite_sessions: Sessions) -> None:
    assert json.loads(run("users", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["status"], 0, "study"),
        (["status", "4711"], 1, "dicom-node: study 4711 does not exist"),
        (["retry", "4711"], 1, "dicom-node: study 4711"),
        (["status", "many"], 2, "Invalid value"),
        (["nonsense"], 2, "No such command"),
        (["withdraw", "1"], 2, "Missing option"),
    ],
)
def test_exit_statuses_are_well_a_fault_and_not_understood(
    arguments: list[str], status: int, words: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    environment = {**os.environ, "DICOM_NODE_DATA_DIR": str(settings.data_dir), "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "dicom_node", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, words in done.stdout + done.stderr) == (status, True)
    assert "Traceback" not in done.stderr


def _as_started(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`dicom-node` as a process of its own in this folder: what goes wrong is told by `main`."""
    environment = {**os.environ, "COLUMNS": "400", "NO_COLOR": "1", **environment}
    command = [sys.executable, "-m", "dicom_node", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_a_data_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = _as_started("status", folder=tmp_path, DICOM_NODE_DATA_DIR=str(tmp_path / "file" / "node"))
    assert done.returncode == 1
    assert f"data_dir {tmp_path}/file/node cannot be made (Not a directory): give uid" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_written_is_told_before_the_database_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(Permanent, match=f"data_dir {settings.data_dir} cannot be written: give uid"):
        make_folder(settings.data_dir)


def test_a_database_that_cannot_be_opened_is_named(settings: Settings, tmp_path: Path) -> None:
    (settings.data_dir / "node.sqlite").mkdir()
    done = _as_started("status", folder=tmp_path, DICOM_NODE_DATA_DIR=str(settings.data_dir))
    assert done.returncode == 1
    assert f"the database {settings.data_dir}/node.sqlite cannot be used (OperationalError)" in done.stderr


def test_the_shell_can_complete_commands(run: Run) -> None:
    assert "--install-completion" in run("--help").stdout


def test_watch_shows_studies_and_roles_and_ends_when_told_to(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        add_job(session, add_study(session, state="complete"), state="failed", reason="undecodable")
    stop, screen = threading.Event(), StringIO()
    console = Console(file=screen, width=120, height=40)

    def once() -> object:
        stop.set()
        return sqlite_sessions()

    live.watch_rows(once, ["scp"], stop, console)  # type: ignore[arg-type]  # all it does is open a session
    assert "undecodable" in screen.getvalue()
    assert "scp: does not run" in screen.getvalue()


def test_watch_waits_for_a_database_that_is_away() -> None:
    stop, screen = threading.Event(), StringIO()

    def away() -> object:
        stop.set()
        raise OperationalError("", None, Exception())

    live.watch_rows(away, ["scp"], stop, Console(file=screen))  # type: ignore[arg-type]
    assert "The database is away." in screen.getvalue()


def test_an_export_holds_what_came_and_what_was_sent(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    study_id, folder = add_delivered(sqlite_sessions, settings), tmp_path / "out"
    export_study(settings, sqlite_sessions, study_id, folder, FrozenClock())
    manifest = json.loads((folder / "manifest.json").read_text())
    names = {each["name"] for each in manifest["files"]}
    received, sent = {"received/1.dcm"}, {"sent/1-pacs-sr.dcm", "sent/2-ris-oru.hl7"}
    assert names == received | sent | {"drafts/1.txt", "timeline.txt"}
    assert {str(file.relative_to(folder)) for file in folder.rglob("*.*")} == names | {"manifest.json"}
    for each in manifest["files"]:
        content = (folder / each["name"]).read_bytes()
        assert (sha256(content).hexdigest(), len(content)) == (each["sha256"], each["size_bytes"])
    stored = InstanceStore(settings.instances_dir).open(only(sqlite_sessions, Instance).path)
    assert (folder / "received/1.dcm").read_bytes() == stored.read_bytes()
    assert (folder / "sent/2-ris-oru.hl7").read_bytes() == b"MSH|"
    assert (folder.stat().st_mode & 0o777, "CANARY" in str(sorted(names))) == (0o700, False)


def test_an_export_is_in_the_audit_trail(settings: Settings, sqlite_sessions: Sessions, tmp_path: Path) -> None:
    study_id = add_delivered(sqlite_sessions, settings)
    export_study(settings, sqlite_sessions, study_id, tmp_path / "out", FrozenClock())
    (file,) = settings.audit_dir.glob("*.log")
    (said,) = (line for line in file.read_text().splitlines() if '"Export"' in line)
    assert "CANARY-ID" in said


def test_an_export_overwrites_nothing(settings: Settings, sqlite_sessions: Sessions, tmp_path: Path) -> None:
    study_id = add_delivered(sqlite_sessions, settings)
    (tmp_path / "there").mkdir()
    with pytest.raises(Permanent, match="is there already, and nothing is overwritten"):
        export_study(settings, sqlite_sessions, study_id, tmp_path / "there", FrozenClock())
    (tmp_path / "out.part").mkdir()
    with pytest.raises(Permanent, match="left of an export that was cut short: remove it"):
        export_study(settings, sqlite_sessions, study_id, tmp_path / "out", FrozenClock())


def test_an_export_says_what_it_could_not_hold(
    run: Run, settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    study_id = add_delivered(sqlite_sessions, settings)
    store = InstanceStore(settings.instances_dir)
    store.remove([only(sqlite_sessions, Instance).path])
    missing = export_study(settings, sqlite_sessions, study_id, tmp_path / "missing", FrozenClock())
    with sqlite_sessions.begin() as session:
        instance = session.exec(select(Instance)).one()
        instance.path, instance.removed_at = "", NOON + timedelta(days=1)
    removed = export_study(settings, sqlite_sessions, study_id, tmp_path / "removed", FrozenClock())
    assert [(each.missing, each.removed) for each in (missing, removed)] == [(1, 0), (0, 1)]
    done = run("export", str(study_id), str(tmp_path / "again"))
    assert (done.exit_code, "1 objects were removed before" in done.stdout) == (0, True)


@pytest.mark.parametrize("is_digested", [True, False])
def test_an_export_names_what_the_disk_has_damaged(
    run: Run, settings: Settings, sqlite_sessions: Sessions, tmp_path: Path, *, is_digested: bool
) -> None:
    study_id = add_delivered(sqlite_sessions, settings)
    store = InstanceStore(settings.instances_dir)
    with sqlite_sessions.begin() as session:
        instance = session.exec(select(Instance)).one()
        file = StoredFile(instance.path, instance.size_bytes)
        instance.sha256 = store.sha256(file) if is_digested else ""
    content = (settings.instances_dir / file.path).read_bytes()
    damaged = content[:-1] + b"?" if is_digested else content[: file.size_bytes - 1]
    (settings.instances_dir / file.path).chmod(0o600)
    (settings.instances_dir / file.path).write_bytes(damaged)
    done = run("export", str(study_id), str(tmp_path / "out"))
    assert (done.exit_code, "1 objects are not as they were sent any more" in str(done.exception)) == (1, True)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["damaged"], "DAMAGED" in manifest["files"][0]["what"]) == (1, True)
    assert (tmp_path / "out/received/1.dcm").read_bytes() == damaged


@pytest.mark.usefixtures("one_thread")
def test_benchmark_measures_the_model_that_ships(run: Run) -> None:
    found = json.loads(run("benchmark", "--times", "1", "--json").stdout)
    assert found["token_count"] > 0
    assert (len(found["draft_seconds"]), found["tokens_per_second"] > 0) == (1, True)


def test_benchmark_says_that_a_worker_gives_such_drafts_up() -> None:
    slow = Benchmark("LLaVA-Rad 1", 60.0, 0.1, (130.0, 110.0), 100, timeout_s=120.0)
    assert slow.sentences[-1] == "A worker gives a draft up after 120 s: raise `inference_timeout_s`."
    assert "gives" not in " ".join(replace(slow, timeout_s=900.0).sentences)
