"""Orders and final reports find a study from its first image on, before anybody has looked at that."""

from datetime import timedelta

import pytest
from doubles import NOON
from hl7_messages import final, order
from rows import all_of, only, receive
from sqlmodel import select
from test_orders import House

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Job, Study
from dicom_node.peers import Completeness
from dicom_node.receive.completeness import close_quiet_studies
from dicom_node.states import CLOSED
from workers.inference import infer

QUIET = NOON + timedelta(seconds=30)


@pytest.fixture
def house(sessions: Sessions, settings: Settings) -> House:
    return House(sessions, settings)


def receive_film(house: House) -> None:
    with house.sessions.begin() as session:
        receive(session, house.store)


def close(house: House) -> Job:
    with house.sessions.begin() as session:
        (job,) = close_quiet_studies(session, now=QUIET, idle_timeout_s=30, rules=Completeness())
    house.clock.now = QUIET
    return job


def test_an_urgent_order_of_the_accession_number_hurries_the_job_from_its_beginning(house: House) -> None:
    house.hear(order(priority="S"))
    receive_film(house)
    assert close(house).priority == 0


def test_an_urgent_order_that_comes_between_image_and_completion_hurries_the_job(house: House) -> None:
    receive_film(house)
    house.hear(order(priority="S"))
    assert close(house).priority == 0


@pytest.mark.parametrize("when", ["before the job", "while the job waits"])
def test_a_final_report_that_comes_early_is_in_the_timeline_and_nothing_is_drafted(when: str, house: House) -> None:
    receive_film(house)
    if when == "while the job waits":
        close(house)
    house.hear(final())
    with house.sessions() as session:
        study_id = session.exec(select(Study.id)).one()
    assert f"study {study_id}: " in house.story()[-1]
    assert house.story()[-1].endswith(f"({CLOSED})")
    if when == "before the job":
        close(house)
    assert infer(house.reader)
    assert (only(house.sessions, Job).state, only(house.sessions, Job).reason) == ("skipped", CLOSED)
    assert house.writer.images == []


def test_a_final_report_of_a_corrected_study_stops_the_next_revision(house: House) -> None:
    receive_film(house)
    close(house)
    infer(house.reader)
    house.tell()
    house.hear(final())
    with house.sessions.begin() as session:
        receive(session, house.store, SOPInstanceUID="1.2.3", now=QUIET)
        (job,) = close_quiet_studies(
            session, now=QUIET + timedelta(seconds=30), idle_timeout_s=30, rules=Completeness()
        )
        assert job.revision == 2
    house.clock.forward(60)
    infer(house.reader)
    assert [each.state for each in all_of(house.sessions, Job)] == ["done", "skipped"]
