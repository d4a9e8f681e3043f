"""Images go when their time is up, and only then; rows stay, and nothing lies."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from errno import EIO
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from audit_schema import violations
from doubles import NOON
from pydicom import dcmread
from retention_house import DAYS, TIME_IS_UP, House, uids_of
from rows import add_commitment, add_delivery, add_job, add_study, all_of, only, receive
from sqlalchemy import Connection, Engine, event
from sqlmodel import Session, select

from dicom_node.backup.making import back_up
from dicom_node.config import Settings
from dicom_node.database import Sessions, migrate, open_database
from dicom_node.errors import StorageFull
from dicom_node.lifecycle import advance
from dicom_node.models import (
    Commitment,
    Delivery,
    InboundMessage,
    Instance,
    Job,
    Order,
    Pull,
    Report,
    Study,
    Transition,
)
from dicom_node.receive.commitment import Reference
from dicom_node.receive.commitment_result import NO_SUCH_OBJECT_INSTANCE, examine
from dicom_node.retention import kept_header, rounds
from dicom_node.retention.eligible import START, find_ended
from dicom_node.retention.kept_header import header_of
from dicom_node.retention.removal import give_up_images
from dicom_node.retention.rounds import Retention
from dicom_node.states import JobState, StudyState
from dicom_node.web.study_view import view_study


@pytest.fixture
def house(settings: Settings, sessions: Sessions) -> House:
    return House(settings, sessions)


def test_images_of_a_study_that_ended_are_removed_when_their_time_is_up(house: House) -> None:
    study_id = house.add_ended()
    house.clock.now = NOON + timedelta(days=DAYS)
    house.go_round()
    assert len(house.files()) == 1
    house.clock.now = TIME_IS_UP
    house.go_round()
    instance, study = only(house.sessions, Instance), only(house.sessions, Study)
    assert (house.files(), instance.path, instance.removed_at) == ([], "", TIME_IS_UP)
    assert (study.id, study.images_removed_at) == (study_id, TIME_IS_UP)
    assert [len(all_of(house.sessions, kind)) for kind in (Job, Report, Delivery)] == [1, 1, 1]
    told = all_of(house.sessions, Transition)[-1]
    assert (told.row_kind, told.old, told.new) == ("study", "complete", "complete")
    assert told.reason == "its 1 objects are removed: it ended more than 30 days ago; rows and drafts stay"


def test_looking_for_what_has_ended_takes_no_longer_the_more_there_was(settings: Settings) -> None:
    """With SQLite receiving waits while a study is taken: the timeline is asked about its rows, never about all."""
    engine, plans = open_database(settings), []
    migrate(engine)
    house = House(settings, Sessions(engine))

    def explain(connection: Connection, _: object, statement: str, parameters: Any, *__: object) -> None:
        if statement.startswith("SELECT study.") and "transition" in statement:
            plans.append(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())

    house.add_ended()
    event.listen(engine, "before_cursor_execute", explain)
    house.go_round()
    asked = [str(line[3]) for plan in plans for line in plan if "SEARCH transition" in str(line[3])]
    assert (len(plans), len(asked)) == (3, 6)
    assert {line for line in asked if "row_id=?" not in line} == set()


def test_of_a_drafted_image_the_header_stays(house: House) -> None:
    """Up to its pixels; of one that was not drafted nothing does."""
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        lateral = receive(session, house.store, **uids_of(1) | {"SOPInstanceUID": "1.2.99"})
        lateral.sha256 = "b" * 64
        advance(session, session.get_one(Study, study_id), StudyState.COMPLETE, now=NOON)
    (drafted, _) = all_of(house.sessions, Instance)
    before = dcmread(house.store.root / drafted.path)
    house.go_round()
    kept, other = (each.header for each in all_of(house.sessions, Instance))
    header = dcmread(BytesIO(kept))
    del before[0x60000000:]
    assert (header, header.file_meta, other) == (before, before.file_meta, None)


def test_an_image_that_cannot_be_read_stays_and_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unread, _ = house.add_ended(1), house.add_ended(2)

    def read(part10: Path) -> bytes | None:
        if part10 == house.store.root / path:
            raise OSError(EIO, "Input/output error")
        return header_of(part10)

    path = all_of(house.sessions, Instance)[0].path
    monkeypatch.setattr(kept_header, "header_of", read)
    house.go_round()
    assert house.files() == [path]
    assert f'"study": {unread}' in caplog.text
    assert "Input/output error" in caplog.text
    monkeypatch.undo()
    house.go_round()
    assert house.files() == []


def test_the_audit_trail_says_that_a_study_was_deleted(house: House) -> None:
    house.add_ended()
    house.go_round()
    house.trail.stopped()
    (file,) = house.settings.audit_dir.glob("*.log")
    (deleted,) = (line for line in file.read_text().splitlines() if "DICOM Study Deleted" in line)
    assert violations(deleted) == []
    assert ("CANARY-ID" in deleted, "1.4.1" in deleted) == (True, True)


def test_a_study_is_looked_at_once_and_then_left_alone(house: House) -> None:
    house.add_ended()
    house.go_round()
    before = len(all_of(house.sessions, Transition))
    house.go_round()
    assert len(all_of(house.sessions, Transition)) == before


def test_what_happens_to_one_study_does_not_hold_another(house: House) -> None:
    house.add_ended(1)
    with house.sessions.begin() as session:
        job = add_job(session, add_study(session, state="complete", last_received_at=house.clock()), state="queued")
        advance(session, job, JobState.INFERRING, now=house.clock())
    house.go_round()
    assert house.files() == []


def _open_study(session: Session, study: Study) -> None:
    advance(session, study, StudyState.RECEIVING, now=NOON)


def _job(state: str) -> Callable[[Session, Study], object]:
    return lambda session, study: add_job(session, study, state=state, revision=2)


def _delivery(**columns: object) -> Callable[[Session, Study], object]:
    def add(session: Session, _: Study) -> None:
        add_delivery(session, session.exec(select(Report)).one(), kind="oru", destination="ris", **columns)

    return add


def _without_digest(session: Session, _: Study) -> None:
    session.exec(select(Instance)).one().sha256 = ""


def _pull(session: Session, study: Study) -> None:
    session.add(Pull(source="pacs", prior_of=study.id, due_at=NOON, created_at=NOON))


def _commitment(session: Session, _: Study) -> None:
    add_commitment(session).requested = '[["1.2.840.10008.5.1.4.1.1.1.1","1.2.1"]]'


def _order_of_another(session: Session, study: Study) -> None:
    told = InboundMessage(
        sending_application="", sending_facility="", control_id="", message_type="", raw=b"", is_used=True, reason="",
        sha256="", received_at=NOON,
    )  # fmt: skip
    session.add(told)
    session.flush()
    about = {"study_instance_uid": study.study_instance_uid, "patient_identifiers": '[["ANOTHER"]]'}
    session.add(Order(message_id=told.id, updated_at=NOON, created_at=NOON, **about))


def _lately(session: Session, study: Study) -> None:
    session.add(
        Transition(row_kind="study", row_id=study.id, old="complete", new="complete", at=TIME_IS_UP - timedelta(days=1))
    )


IN_USE: dict[str, Callable[[Session, Study], object]] = {
    "images may still come": _open_study,
    "a draft waits": _job("queued"),
    "a draft is made": _job("inferring"),
    "a draft is being delivered": _job("reported"),
    "a draft failed": _job("failed"),
    "a delivery waits": _delivery(state="pending"),
    "a delivery is under way": _delivery(state="sending"),
    "a delivery failed": _delivery(state="failed"),
    "a delivery is to be committed": _delivery(state="delivered", wants_commitment=True),
    "an object has no digest yet": _without_digest,
    "a prior is looked for": _pull,
    "somebody waits for commitment": _commitment,
    "an order names another patient": _order_of_another,
    "something happened lately": _lately,
}


@pytest.mark.parametrize("what", IN_USE)
def test_what_is_still_in_use_stays(what: str, house: House) -> None:
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        IN_USE[what](session, session.get_one(Study, study_id))
    house.go_round()
    assert len(house.files()) == 1
    assert only(house.sessions, Study).images_removed_at is None


@pytest.mark.parametrize("what", IN_USE)
def test_what_came_into_use_since_it_was_found_stays(what: str, house: House) -> None:
    study_id, before = house.add_ended(), TIME_IS_UP - timedelta(days=DAYS)
    with house.sessions.begin() as session:
        assert [each.study_id for each in find_ended(session, before, after=START)] == [study_id]
        IN_USE[what](session, session.get_one(Study, study_id))
    with house.sessions.begin() as session:
        assert give_up_images(session, house.store, study_id, ended_before=before, now=TIME_IS_UP, why="a test") == 0


def test_a_study_that_was_skipped_has_ended_too(house: House) -> None:
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        add_job(session, session.get_one(Study, study_id), state="skipped", revision=2)
    house.go_round()
    assert house.files() == []


def test_commitment_of_what_was_removed_is_refused_truthfully(house: House) -> None:
    house.add_ended()
    wanted = [Reference(only(house.sessions, Instance).sop_class_uid, "1.2.1")]
    assert examine(house.receiver, wanted, threading.Event()).failed == ()
    house.go_round()
    (failure,) = examine(house.receiver, wanted, threading.Event()).failed
    assert failure.reason == NO_SUCH_OBJECT_INSTANCE


def test_a_short_disk_makes_the_oldest_go_first_until_there_is_room(settings: Settings, sessions: Sessions) -> None:
    house = House(settings, sessions, free_bytes=10**9)
    ids = [house.add_ended(number) for number in (1, 2, 3)]
    with house.sessions.begin() as session:
        session.get_one(Study, ids[1]).last_received_at = NOON - timedelta(days=1)
    house.clock.now = NOON + timedelta(hours=2)
    house.go_round()
    assert len(house.files()) == 3  # there is room
    house.store.free = 10**8
    retention = rounds.Retention(house.settings, house.receiver, house.trail)
    assert retention.go_round()
    house.store.free = 10**12
    while retention.go_round():
        pass
    removed = [study.images_removed_at is not None for study in all_of(house.sessions, Study)]
    assert (removed, len(house.files())) == ([False, True, False], 2)


def test_a_clock_that_leaps_ahead_makes_no_image_old(house: House) -> None:
    """Set right again, it would bring none back."""
    house.add_ended()
    house.clock.now = NOON + timedelta(days=1)
    seconds = [0.0]
    retention = Retention(house.settings, house.receiver, house.trail, timer=lambda: seconds[0])

    def files_after(days: int) -> int:
        house.clock.now += timedelta(days=days)
        while retention.go_round():
            pass
        return len(house.files())

    seconds[0] = rounds._LOOK_EVERY_S
    assert files_after(days=365) == 1
    seconds[0] += timedelta(days=DAYS).total_seconds()
    assert files_after(days=DAYS) == 0


def test_who_is_needed_when_its_time_is_up_keeps_no_older_one_from_making_room(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    house = House(settings, sqlite_sessions, days=DAYS, free_bytes=10**9)
    old, needed = house.add_ended(1), house.add_ended(2)
    with house.sessions.begin() as session:
        session.add(
            Transition(row_kind="study", row_id=old, old="complete", new="complete", at=TIME_IS_UP - timedelta(days=1))
        )
        _order_of_another(session, session.get_one(Study, needed))
    house.store.free = 10**8
    house.go_round()
    removed = {study.id: study.images_removed_at is not None for study in all_of(house.sessions, Study)}
    assert removed == {old: True, needed: False}


def test_a_study_of_this_hour_makes_no_room(settings: Settings, sqlite_sessions: Sessions) -> None:
    house = House(settings, sqlite_sessions, free_bytes=10**9)
    house.add_ended()
    house.store.free, house.clock.now = 0, NOON + timedelta(minutes=59)
    house.go_round()
    assert len(house.files()) == 1


def test_what_a_backup_has_a_second_name_of_makes_no_room(settings: Settings, sqlite_sessions: Sessions) -> None:
    house = House(settings, sqlite_sessions, free_bytes=10**9)
    house.add_ended()
    os.link(house.store.open(only(house.sessions, Instance).path), settings.data_dir / "backup")
    house.store.free = 0
    house.go_round()
    assert len(house.files()) == 1


def test_a_disk_that_cannot_be_asked_ends_nothing(settings: Settings, sqlite_sessions: Sessions) -> None:
    house = House(settings, sqlite_sessions, free_bytes=10**9)
    house.add_ended()
    house.store.free = StorageFull("the disk is away")
    house.go_round()
    assert len(house.files()) == 1


def test_a_backup_misses_nothing_that_was_removed(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    house = House(settings, Sessions(engine))
    house.add_ended(1)
    house.go_round()
    house.add_ended(2)
    made = back_up(house.settings, engine, tmp_path / "backup", house.clock)
    assert (made.objects, made.missing) == (1, 0)


def test_the_page_says_that_the_images_were_removed(house: House) -> None:
    study_id = house.add_ended()
    house.go_round()
    with house.sessions() as session:
        view = view_study(session, session.get_one(Study, study_id))
    assert (view.film, view.drafts[0].attended) == (None, ())
    assert "The images were removed on 2026-03-31: the timeline says why." in view.notices


def test_who_refuses_all_does_not_keep_the_round_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor from those that come after: the next look goes on where this one ended, the last from the start."""
    monkeypatch.setattr(rounds, "_MOST_REFUSED", 2)
    for number in range(1, 4):
        house.add_ended(number)
        with house.sessions.begin() as session:
            add_commitment(session).requested = f'[["1.2","1.2.{number}"]]'
    house.add_ended(4)
    seconds = [0.0]
    retention = Retention(house.settings, house.receiver, house.trail, timer=lambda: seconds[0])

    def look() -> int:
        while retention.go_round():
            pass
        seconds[0] += rounds._LOOK_EVERY_S
        return len(house.files())

    assert [look(), look()] == [4, 3]
    with house.sessions.begin() as session:
        for commitment in session.exec(select(Commitment)):
            commitment.requested = "[]"
    assert look() == 0
