"""`dicom-node pull`, as an operator runs it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from archives import ACCESSION, uid
from doubles import NOON
from rows import add_pull, all_of, only
from sqlalchemy import Engine
from test_bad_retrievals import ONE, OTHER, gets
from test_bad_sources import answers, source_that, study
from waiting import LONG_S, wait_until

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance, Pull
from dicom_node.orphans import take_over
from dicom_node.peers import DicomSource

LISTING = answers(study("today", NumberOfStudyRelatedInstances=2))


@contextmanager
def command(settings: Settings, source: DicomSource, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "DICOM_NODE_DATA_DIR": str(settings.data_dir),
        "DICOM_NODE_MIN_FREE_BYTES": "0",
        "DICOM_NODE_SOURCES": f"[{source.model_dump_json()}]",
        "COLUMNS": "200",
    }
    call = [sys.executable, "-m", "dicom_node", "pull", "pacs", *arguments]
    with subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(settings: Settings, source: DicomSource, *arguments: str) -> tuple[str, int]:
    """Its output and its exit status."""
    with command(settings, source, *arguments) as process:
        out, _ = process.communicate(timeout=LONG_S)
    return out, process.returncode


@contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """What is started in the block hears the signal: a shell lets what it starts in the background ignore SIGINT."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def pulling(settings: Settings, sessions: Sessions) -> Iterator[subprocess.Popen[str]]:
    """The command, when the first of two objects has come; the other comes after the block."""
    go_on = threading.Event()
    slow = gets(ONE, OTHER, then=lambda event: go_on.wait(LONG_S))
    with source_that(LISTING, get=slow, retrieve="get") as source:
        try:
            with command(settings, source, "--study", uid("today")) as process:
                wait_until(lambda: len(all_of(sessions, Instance)) == 1, "the first object has come")
                yield process
                go_on.set()
                process.communicate(timeout=LONG_S)
        finally:
            go_on.set()


def test_a_pull_that_is_broken_off_is_given_back(settings: Settings, sqlite_sessions: Sessions) -> None:
    with heard(signal.SIGINT), pulling(settings, sqlite_sessions) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LONG_S)
    pull = only(sqlite_sessions, Pull)
    assert (pull.state, pull.lease_until) == ("pending", None)
    assert pull.reason.startswith("the operator broke it off; attempt 1 of 10")
    assert process.returncode != 0


def test_the_role_leaves_to_the_command_what_it_pulls(
    settings: Settings, sqlite_engine: Engine, sqlite_sessions: Sessions
) -> None:
    with pulling(settings, sqlite_sessions) as process:
        take_over(sqlite_engine, sqlite_sessions, settings, NOON, Pull).close()
        assert only(sqlite_sessions, Pull).state == "pulling"
    assert (process.returncode, only(sqlite_sessions, Pull).state) == (0, "done")


def test_a_command_that_is_alone_takes_back_what_a_dead_one_held(settings: Settings, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        add_pull(session, uid("today"), state="pulling", attempts=1, lease_until=utc_now() + timedelta(hours=1))
    with source_that(LISTING, get=gets(ONE, OTHER), retrieve="get") as source:
        out, status = said(settings, source, "--study", uid("today"))
    assert (status, out) == (0, f"{uid('today')}: done (2 objects came)\n")


def test_each_study_of_an_accession_number_is_told_though_one_is_refused(
    settings: Settings, sqlite_engine: Engine, sqlite_sessions: Sessions
) -> None:
    """The first is being pulled by another process."""
    of_accession = [study(name, AccessionNumber=ACCESSION, NumberOfStudyRelatedInstances=2) for name in ("a", "today")]
    living = take_over(sqlite_engine, sqlite_sessions, settings, NOON, Pull)
    with sqlite_sessions.begin() as session:
        add_pull(session, uid("a"), state="pulling", attempts=1, lease_until=utc_now() + timedelta(hours=1))
    with source_that(answers(*of_accession), get=gets(ONE, OTHER), retrieve="get") as source:
        out, status = said(settings, source, "--accession", ACCESSION)
        assert json.loads(said(settings, source, "--accession", ACCESSION, "--json")[0])[0]["where"] == "refused"
    living.close()
    assert out.splitlines() == [
        f"{uid('a')}: refused (the study is being pulled at this moment)",
        f"{uid('today')}: done (2 objects came)",
    ]
    assert status == 1
