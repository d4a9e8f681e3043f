"""When a study is complete."""

from datetime import timedelta

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, add_study, all_of, only, receive
from waiting import in_threads

from dicom_node.database import Sessions
from dicom_node.models import Job, Study, Transition
from dicom_node.peers import Completeness
from dicom_node.receive.completeness import close_quiet_studies
from dicom_node.states import DRAFTING_JOB_STATES, DeliveryState, JobState

QUIET = NOON + timedelta(seconds=30)


def close(sessions: Sessions, now: object = QUIET) -> list[Job]:
    with sessions.begin() as session:
        return close_quiet_studies(session, now=now, idle_timeout_s=30, rules=Completeness())  # type: ignore[arg-type]


def test_a_quiet_study_is_complete_and_its_job_queued_in_one_transaction(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = add_study(session)
    with sessions() as session:
        close_quiet_studies(session, now=QUIET, idle_timeout_s=30, rules=Completeness())
        session.rollback()
    assert (only(sessions, Study).state, all_of(sessions, Job)) == ("receiving", [])
    (job,) = close(sessions)
    assert only(sessions, Study).state == "complete"
    assert (job.study_id, job.state, job.revision, job.due_at, job.attempts) == (study.id, "queued", 1, QUIET, 0)
    assert [each.reason for each in all_of(sessions, Transition)][-2:] == [
        "no image for the idle time",
        "study complete",
    ]


def test_a_study_that_is_not_quiet_long_enough_stays_open(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_study(session)
    assert close(sessions, QUIET - timedelta(milliseconds=1)) == []


def test_the_quiet_timer_is_a_column_that_survives_a_restart_and_each_image_winds_it(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
        receive(session, SOPInstanceUID="1.2.3", now=NOON + timedelta(seconds=29))
    assert close(sessions) == []
    assert len(close(sessions, NOON + timedelta(seconds=59))) == 1


def test_an_object_that_is_no_radiograph_does_not_wind_the_timer(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
        receive(session, SOPInstanceUID="1.2.3", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", now=QUIET)
    assert len(close(sessions)) == 1


@pytest.mark.parametrize("state", JobState)
def test_a_study_that_is_being_drafted_stays_open_until_the_end_of_that(state: JobState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, add_study(session), state=state, revision=4)
    jobs = close(sessions)
    if state in DRAFTING_JOB_STATES:
        assert jobs == []
        assert only(sessions, Study).state == "receiving"
    else:
        assert [job.revision for job in jobs] == [5]


def test_the_job_of_another_study_keeps_nothing_open(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, add_study(session, state="complete"))
        quiet = add_study(session)
    assert [job.study_id for job in close(sessions)] == [quiet.id]


def test_a_complete_study_is_not_completed_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_study(session, state="complete")
    assert close(sessions) == []


def test_several_sweeps_at_once_queue_one_job_a_study(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for _ in range(20):
            add_study(session)
    in_threads(lambda: close(sessions), 4)
    assert len({job.study_id for job in all_of(sessions, Job)}) == len(all_of(sessions, Job)) == 20


@pytest.mark.parametrize("state", DeliveryState)
def test_a_new_draft_does_not_wait_for_deliveries_of_the_old_one(state: DeliveryState, sessions: Sessions) -> None:
    """A RIS that is away keeps the correction from nobody else; `deliveries` sees to it that none is overtaken."""
    with sessions.begin() as session:
        study = add_study(session)
        report = add_report(session, add_job(session, study, state="failed"))
        add_delivery(session, report, destination="pacs", state="failed")
        add_delivery(session, report, destination="ris", kind="oru", state=state)
    assert [job.revision for job in close(sessions)] == [2]


def test_an_image_received_in_the_future_does_not_keep_a_study_open_for_ever(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_study(session, last_received_at=NOON + timedelta(days=3650))
    assert len(close(sessions)) == 1
