"""What removal leaves behind: files that the disk does not give up, and what was begun before it was switched off."""

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from doubles import NOON
from postgres import waits_for_a_lock
from retention_house import House
from rows import add_commitment, add_delivery, add_job, add_report, all_of, only
from sqlmodel import Session, select
from waiting import LONG_S, free_port, wait_until

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.doctor.diagnosis import Verdict
from dicom_node.models import Delivery, Instance, Job, Study
from dicom_node.receive.commitment import Reference
from dicom_node.receive.commitment_result import NO_SUCH_OBJECT_INSTANCE, CommitmentResult, examine
from dicom_node.retention import rounds
from dicom_node.retention.doctor import check_removal
from dicom_node.retention.removal import give_up_images


@pytest.fixture
def house(settings: Settings, sessions: Sessions) -> House:
    return House(settings, sessions)


class Looks:
    """Rounds that are gone at each look."""

    def __init__(self, house: House) -> None:
        self._now = 0.0
        self._retention = rounds.Retention(house.settings, house.receiver, house.trail, timer=lambda: self._now)

    def look(self) -> None:
        while self._retention.go_round():
            pass
        self._now += rounds._LOOK_EVERY_S


def file_of(house: House, number: int) -> Path:
    (path,) = [each.path for each in all_of(house.sessions, Instance) if each.sop_instance_uid == f"1.2.{number}"]
    return house.store.root / path


def get_stuck(house: House, number: int) -> None:
    """A folder has the name of the study's file: the disk does not remove that."""
    file_of(house, number).unlink()
    file_of(house, number).mkdir()


def give_up(house: House, session: Session, study_id: int) -> None:
    """The rows say that the files are removed, and no more."""
    assert (
        give_up_images(session, house.store, study_id, ended_before=house.clock(), now=house.clock(), why="a test") == 1
    )


def named(house: House) -> list[bool]:
    """Of each object, whether its row still names a file."""
    return [bool(each.path) for each in all_of(house.sessions, Instance)]


def test_a_file_that_stays_holds_up_no_other_and_goes_later(house: House, caplog: pytest.LogCaptureFixture) -> None:
    study_id, *_ = [house.add_ended(number) for number in (1, 2, 3)]
    get_stuck(house, 1)
    looks = Looks(house)
    looks.look()
    looks.look()
    assert named(house) == [True, False, False]
    looks.look()
    (line,) = [each.message for each in caplog.records if "files_not_removed" in each.message]
    assert f'"study": {study_id},' in line
    assert "Is a directory" in line
    file_of(house, 1).rmdir()
    looks.look()
    assert named(house) == [False, False, False]


def test_while_the_disk_gives_nothing_up_one_study_is_begun_at_a_look(house: House) -> None:
    for number in (1, 2, 3):
        house.add_ended(number)
        get_stuck(house, number)
    Looks(house).look()
    assert [each.removed_at is not None for each in all_of(house.sessions, Instance)] == [True, False, False]


def test_the_audit_trail_tells_of_a_study_whose_files_stay_when_they_are_gone(house: House) -> None:
    house.add_ended()
    get_stuck(house, 1)
    looks = Looks(house)
    looks.look()
    file_of(house, 1).rmdir()
    looks.look()
    looks.look()
    house.trail.stopped()
    (file,) = house.settings.audit_dir.glob("*.log")
    assert file.read_text().count("DICOM Study Deleted") == 1


def test_what_comes_again_is_kept_though_its_old_file_stays(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.add_ended()
    get_stuck(house, 1)
    Looks(house).look()
    house.send_again()
    assert house.files() == [only(house.sessions, Instance).path]
    assert "file_not_removed" in caplog.text


def test_the_doctor_tells_of_files_whose_time_was_up(settings: Settings, sqlite_sessions: Sessions) -> None:
    house = House(settings, sqlite_sessions)
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        give_up(house, session, study_id)
        session.exec(select(Instance)).one().removed_at = utc_now() - timedelta(minutes=50)
    assert [each.verdict for each in check_removal(settings)] == [Verdict.OK]
    with house.sessions.begin() as session:
        session.exec(select(Instance)).one().removed_at = utc_now() - timedelta(minutes=70)
    (found,) = check_removal(settings)
    assert (found.verdict, found.words) == (Verdict.WARNING, "1 files of images whose time was up are still there")
    house.go_round()
    assert [each.verdict for each in check_removal(settings)] == [Verdict.OK]


def test_the_doctor_leaves_a_database_that_is_not_there_to_its_other_checks(settings: Settings) -> None:
    assert list(check_removal(settings)) == []


def test_what_was_begun_is_finished_though_retention_was_switched_off(house: House, settings: Settings) -> None:
    study_id = house.add_ended(1)
    house.add_ended(2)
    with house.sessions.begin() as session:
        give_up(house, session, study_id)
    house.settings = settings
    house.go_round()
    assert named(house) == [False, True]


def test_the_receiver_finishes_at_its_start_what_was_begun(settings: Settings, sqlite_sessions: Sessions) -> None:
    house = House(settings, sqlite_sessions)
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        give_up(house, session, study_id)
    own = {"DATA_DIR": str(settings.data_dir), "PORT": str(free_port()), "MIN_FREE_BYTES": "0"}
    environment = {**os.environ, **{f"DICOM_NODE_{key}": value for key, value in own.items()}}
    scp = subprocess.Popen([sys.executable, "-m", "dicom_node", "scp"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: named(house) == [False], "the file is gone and forgotten", timeout_s=3 * LONG_S)
    finally:
        scp.send_signal(signal.SIGTERM)
        scp.wait(LONG_S)


@pytest.mark.parametrize(("later", "is_removed"), [("done", True), ("skipped", False), ("failed", False)])
def test_a_failure_keeps_images_until_a_later_draft_is_delivered(later: str, *, is_removed: bool, house: House) -> None:
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        session.exec(select(Job)).one().state = "failed"
        session.exec(select(Delivery)).one().state = "failed"
        add_job(session, session.get_one(Study, study_id), state=later, revision=2)
    house.go_round()
    assert (house.files() == []) == is_removed


def test_a_delivery_of_the_later_draft_that_failed_keeps_images(house: House) -> None:
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        session.exec(select(Job)).one().state = "failed"
        job = add_job(session, session.get_one(Study, study_id), state="done", revision=2)
        add_delivery(session, add_report(session, job), state="failed", kind="oru", destination="ris")
    house.go_round()
    assert len(house.files()) == 1


def test_what_is_being_removed_is_not_committed(settings: Settings, postgres_sessions: Sessions) -> None:
    """The removal knew nothing of the request, and is not through when the request is looked at."""
    house = House(settings, postgres_sessions)
    study_id = house.add_ended()
    wanted, found = [Reference(only(house.sessions, Instance).sop_class_uid, "1.2.1")], list[CommitmentResult]()
    asked = threading.Thread(target=lambda: found.append(examine(house.receiver, wanted, threading.Event())))
    with house.sessions.begin() as session:
        give_up(house, session, study_id)
        session.flush()
        asked.start()
        wait_until(lambda: found or waits_for_a_lock(house.sessions), "the request is looked at")
    asked.join(LONG_S)
    assert [failure.reason for result in found for failure in result.failed] == [NO_SUCH_OBJECT_INSTANCE]


def test_a_request_that_came_first_keeps_what_it_asks_for(house: House) -> None:
    house.add_ended()
    with house.sessions.begin() as session:
        add_commitment(session, due_at=NOON + timedelta(days=99)).requested = '[["1.2","1.2.1"]]'
    house.go_round()
    assert len(house.files()) == 1
