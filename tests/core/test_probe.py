"""A role answers whoever asks on its machine, and says nothing that its row would not."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import wait_until

from dicom_node import heartbeat, probe
from dicom_node.database import Sessions
from dicom_node.heartbeat import Pulse, beating
from dicom_node.probe import Answer, answering, ask


@pytest.fixture(autouse=True)
def _own_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(heartbeat, "_BEAT_EVERY_S", 0.02)


@pytest.mark.parametrize("answer", [Answer(True, "scp: well."), Answer(False, "scp: größer Fehler.")])
def test_who_asks_hears_what_the_role_says(answer: Answer) -> None:
    with answering("scp", lambda: answer):
        assert [ask("scp"), ask("scp")] == [answer, answer]
        assert ask("sweep") is None
    assert ask("scp") is None


def test_another_node_of_the_machine_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering("scp", lambda: Answer(True, "scp: well.")):
        monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(tmp_path / "other"))
        assert ask("scp") is None


def test_of_two_processes_of_a_role_the_first_answers() -> None:
    with answering("scp", lambda: Answer(True, "the first")):
        with answering("scp", lambda: Answer(True, "the second")):
            assert ask("scp") == Answer(True, "the first")
        assert ask("scp") == Answer(True, "the first")


def test_a_process_that_hangs_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_ANSWER_S", 0.05)
    silent = threading.Event()
    with answering("scp", lambda: Answer(silent.wait(20), "")):
        assert ask("scp") is None
        silent.set()


def test_who_asks_and_hangs_up_does_no_harm() -> None:
    with answering("scp", lambda: Answer(True, "x" * 100_000)):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(probe._name_of("scp"))
        wait_until(lambda: ask("scp") is not None, "the next is answered")


def test_a_living_role_is_well_as_long_as_it_reaches_the_database(sqlite_sessions: Sessions) -> None:
    lacks = ""
    with beating("worker", sqlite_sessions, Pulse(lacks=lambda: lacks)):
        wait_until(lambda: ask("worker") == Answer(True, "worker: well."), "it is well")
        lacks = "the model is not loaded"
        answer = ask("worker")
        assert answer is not None
        assert (answer.is_well, "the model is not loaded." in answer.words) == (False, True)
    assert ask("worker") is None


def test_a_role_whose_word_did_not_reach_the_database_is_not_well(
    sqlite_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SILENT_AFTER_S", -1.0)
    with beating("sweep", sqlite_sessions, Pulse()):
        answer = ask("sweep")
    assert answer is not None
    assert (answer.is_well, "it cannot write to the database." in answer.words) == (False, True)


@pytest.mark.parametrize(("answer", "status"), [(Answer(True, "scp: well."), 0), (Answer(False, "scp: hangs."), 1)])
def test_the_command_answers_before_it_loads_what_reads_rows(answer: Answer, status: int) -> None:
    with answering("scp", lambda: answer):
        asked = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout, asked.stderr) == (status, f"{answer.words}\n[]\n", "")


def test_what_the_program_writes_is_not_for_every_account_to_read(tmp_path: Path) -> None:
    environment = {**os.environ, "DICOM_NODE_DATA_DIR": str(tmp_path / "node")}
    command = [sys.executable, "-m", "dicom_node", "migrate"]
    subprocess.run(command, env=environment, umask=0o022, cwd=tmp_path, check=True, capture_output=True)
    made = [tmp_path / "node", tmp_path / "node/node.sqlite"]
    assert [each.stat().st_mode & 0o777 for each in made] == [0o750, 0o640]


ASKING = """
import sys
sys.argv[1:] = ["health", "scp"]
from dicom_node.entry import main
try:
    main()
finally:
    print([name for name in ("sqlalchemy", "pydantic", "typer") if name in sys.modules])
"""
