"""What was removed and is sent again is kept again; a kill between any two steps leaves no row that lies."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from doubles import NOON, FakeWriter
from films import dx_bytes
from retention_house import DAYS, House, uids_of
from rows import all_of, only, receive
from sqlmodel import select
from stored_files import whole_files

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Delivery, Instance, Job, Report, Study, Transition
from dicom_node.receive.importing import Fate, import_files
from dicom_node.receive.media import opened_media
from dicom_node.receive.transfers import Transfers
from dicom_node.retention.removal import give_up_images
from dicom_node.storage import StoredFile
from workers.inference import Reader, infer

CT = "1.2.840.10008.5.1.4.1.1.2"
DIE = Path(__file__).parents[1] / "system" / "die"


@pytest.fixture
def house(settings: Settings, sessions: Sessions) -> House:
    return House(settings, sessions)


def stop_after_the_rows(house: House, study_id: int) -> None:
    with house.sessions.begin() as session:
        assert (
            give_up_images(session, house.store, study_id, ended_before=house.clock(), now=house.clock(), why="a test")
            == 1
        )


def stop_after_the_file(house: House, study_id: int) -> None:
    stop_after_the_rows(house, study_id)
    house.store.remove([only(house.sessions, Instance).path])


def go_to_the_end(house: House, study_id: int) -> None:
    house.go_round()


STOPS = (stop_after_the_rows, stop_after_the_file, go_to_the_end)


@pytest.mark.parametrize("stop", STOPS)
def test_what_comes_again_is_kept_again_wherever_removal_stands(
    stop: Callable[[House, int], None], house: House
) -> None:
    study_id = house.add_ended()
    old = only(house.sessions, Instance).path
    stop(house, study_id)
    house.send_again()
    instance = only(house.sessions, Instance)
    assert (instance.removed_at, instance.path != old) == (None, True)
    assert whole_files(house.store.root) == [instance.path]
    assert house.store.sha256(StoredFile(instance.path, instance.size_bytes)) == instance.sha256
    house.clock.forward(60)
    house.go_round()
    assert house.store.holds(only(house.sessions, Instance).path)
    reasons = [each.reason for each in all_of(house.sessions, Transition) if each.row_kind == "study"]
    assert "objects come after its images were removed" in reasons
    assert reasons[-1] == "an image came late"


@pytest.mark.parametrize("is_known", [True, False])
def test_a_file_that_is_damaged_or_gone_gives_place_to_the_same_bytes(is_known: bool, house: House) -> None:
    house.add_ended()
    with house.sessions.begin() as session:
        stored = session.exec(select(Instance)).one()
        stored.sha256 = stored.sha256 if is_known else ""
        file = house.store.root / stored.path
    if is_known:
        file.chmod(0o640)
        file.write_bytes(file.read_bytes()[:-100])
        file.chmod(0o440)
    else:
        file.unlink()
    house.send_again()
    instance = only(house.sessions, Instance)
    assert instance.path != file.relative_to(house.store.root).as_posix()
    assert instance.sha256 == house.store.sha256(StoredFile(instance.path, instance.size_bytes))


def test_what_comes_to_a_study_that_ended_long_ago_is_not_removed_for_that(house: House) -> None:
    house.add_ended()
    elements = {**uids_of(1), "SOPClassUID": CT, "SOPInstanceUID": "1.2.3"}
    with house.sessions.begin() as session:
        receive(session, house.store, now=house.clock(), **elements).sha256 = "made"
    house.go_round()
    assert [each.removed_at for each in all_of(house.sessions, Instance)] == [None, None]


def test_an_older_film_that_comes_again_does_not_take_the_place_of_the_one_that_was_read(house: House) -> None:
    study_id = house.add_ended()
    older = {**uids_of(1), "SOPInstanceUID": "1.2.3"}
    with house.sessions.begin() as session:
        film = receive(session, house.store, now=NOON - timedelta(minutes=5), **older)
        film.sha256 = house.store.sha256(StoredFile(film.path, film.size_bytes))
        session.get_one(Study, study_id).state = "complete"
    house.go_round()
    with house.sessions.begin() as session:
        receive(session, house.store, now=house.clock(), **older)
    house.close_quiet()
    writer = FakeWriter()
    assert infer(Reader(house.sessions, house.store, writer, house.settings, house.clock))
    assert writer.images == []
    assert all_of(house.sessions, Job)[-1].state == "skipped"


def test_the_same_bytes_are_acknowledged_only_where_their_file_is(house: House) -> None:
    """A file that somebody removed by hand, or that a damaged backup lacked."""
    house.add_ended()
    house.store.remove([only(house.sessions, Instance).path])
    house.send_again()
    assert house.store.holds(only(house.sessions, Instance).path)


def test_what_came_again_is_not_drafted_again(house: House) -> None:
    study_id = house.add_ended()
    house.go_round()
    house.send_again()
    house.close_quiet()
    writer = FakeWriter()
    assert infer(Reader(house.sessions, house.store, writer, house.settings, house.clock))
    assert writer.images == []
    jobs = all_of(house.sessions, Job)
    assert [(job.study_id, job.state) for job in jobs] == [(study_id, "done"), (study_id, "skipped")]
    assert jobs[-1].reason.startswith("a draft was made from the same image already")


def test_an_image_that_should_be_read_and_was_removed_is_said(house: House) -> None:
    """A study that was never drafted: what comes late does not make the node read the worse image."""
    house.add_ended(1)
    with house.sessions.begin() as session:
        session.delete(session.exec(select(Delivery)).one())
        session.delete(session.exec(select(Report)).one())
    house.go_round()
    late = {"SOPInstanceUID": "1.2.77", "SeriesInstanceUID": "1.3.77", "StudyInstanceUID": "1.4.1"}
    with house.sessions.begin() as session:
        receive(session, house.store, now=house.clock(), ViewPosition="LL", **late)
    house.close_quiet()
    assert infer(Reader(house.sessions, house.store, FakeWriter(), house.settings, house.clock))
    assert "was removed when its time was up" in all_of(house.sessions, Job)[-1].reason


def test_an_import_brings_back_what_was_removed(house: House, tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(dx_bytes(**uids_of(1)))

    def fates() -> list[Fate]:
        with opened_media(tmp_path / "film.dcm") as files:
            return [each.fate for each in import_files(house.receiver, files, Transfers(print))]

    assert [*fates(), *fates()] == [Fate.IMPORTED, Fate.ALREADY_THERE]
    with house.sessions.begin() as session:
        instance = session.exec(select(Instance)).one()
        instance.sha256 = house.store.sha256(StoredFile(instance.path, instance.size_bytes))
        house.store.remove([instance.path])
    assert [*fates(), *fates()] == [Fate.IMPORTED, Fate.ALREADY_THERE]
    assert house.store.holds(only(house.sessions, Instance).path)


STEPS = (
    "dicom_node.retention.removal:give_up_images:after",  # nothing is committed
    "dicom_node.retention.rounds:Retention._give_up:after",  # the rows say so
    "dicom_node.storage:InstanceStore.remove:before",
    "dicom_node.storage:InstanceStore.remove:after",  # the file is gone
    "dicom_node.audit:AuditTrail.deleted:after",
    "dicom_node.retention.removal:remove_files:after",  # the row has forgotten its name
)
ROLE = """
from dicom_node.audit import AuditTrail
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
from dicom_node.receive.intake import Receiver
from dicom_node.retention.rounds import Retention
from dicom_node.storage import InstanceStore

settings = Settings()
receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(open_database(settings)), utc_now)
trail = AuditTrail(settings.audit_dir, settings.ae_title, utc_now)
retention = Retention(settings, receiver, trail)
while retention.go_round():
    pass
trail.stopped()
"""


@pytest.mark.kill
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_between_any_two_steps_is_made_good_by_the_next_round(
    step: str, settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    house = House(settings, sqlite_sessions)
    house.add_ended(1)
    house.add_ended(2)
    armed = tmp_path / "armed"
    armed.mkdir()
    (armed / step.replace(":", "@")).touch()
    own = {"DATA_DIR": str(settings.data_dir), "RETENTION__DAYS": str(DAYS), "MIN_FREE_BYTES": "0"}
    environment = {**os.environ, **{f"DICOM_NODE_{key}": value for key, value in own.items()}}
    environment |= {"PYTHONPATH": str(DIE), "DIE_STEPS": step, "DIE_ARMED": str(armed)}
    command = [sys.executable, "-c", ROLE]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    for instance in all_of(sqlite_sessions, Instance):  # no row promises what is not there
        assert instance.removed_at is not None or house.store.holds(instance.path)
    subprocess.run(command, env=environment, check=True)
    assert house.files() == []
    assert [(each.path, each.removed_at is None) for each in all_of(sqlite_sessions, Instance)] == [("", False)] * 2
    told = [each.reason for each in all_of(sqlite_sessions, Transition) if "objects are removed" in each.reason]
    assert len(told) == 2
