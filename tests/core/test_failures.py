"""Failures that a person has seen."""

from datetime import timedelta

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, add_study, all_of, only
from sqlmodel import Session, col, select

from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.failures import acknowledge, needs_person
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job, Report, Study, Transition
from dicom_node.operator import retry
from dicom_node.settlement import settle_job
from dicom_node.states import DeliveryState, JobState
from dicom_node.timeline import list_statuses, study_status

LATER = NOON + timedelta(hours=1)


def add_failed(session: Session) -> int:
    """A study whose draft a PACS refused. Returns its number."""
    study = add_study(session, state="complete")
    job = add_job(session, study, state="failed", reason="delivery to pacs failed: refused")
    add_delivery(session, add_report(session, job), state="failed")
    return job.study_id


def open_failures(session: Session) -> list[int]:
    return list(session.exec(select(Job.study_id).where(needs_person(Job))))


def test_a_failure_that_was_seen_needs_nobody_and_stays_in_the_timeline(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study_id = add_failed(session)
        assert open_failures(session) == [study_id]
        assert acknowledge(session, study_id, LATER, by="anna") == "seen: delivery to pacs failed: refused"
        assert open_failures(session) == []
    with sessions() as session:
        status = study_status(session, session.get_one(Study, study_id))
        assert (status.where, status.why) == ("seen", "delivery to pacs failed: refused (seen by anna)")
    assert only(sessions, Job).state == JobState.FAILED
    last = all_of(sessions, Transition)[-1]
    assert (last.row_kind, last.old, last.new) == ("job", "failed", "failed")
    assert (last.at, last.reason) == (LATER, "seen by anna")


def test_the_list_of_what_waits_for_a_person_leaves_out_what_was_seen(sessions: Sessions) -> None:
    with sessions.begin() as session:
        seen, unseen = add_failed(session), add_failed(session)
        acknowledge(session, seen, LATER)
        add_study(session, last_received_at=LATER)
        assert [status.study_id for status in list_statuses(session, limit=1)][1:] == [unseen]


def test_what_fails_again_needs_a_person_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study_id = add_failed(session)
        acknowledge(session, study_id, NOON)
        retry(session, study_id, LATER)
        job, delivery = session.exec(select(Job)).one(), session.exec(select(Delivery)).one()
        for state in (DeliveryState.SENDING, DeliveryState.FAILED):
            advance(session, delivery, state, now=LATER)
        advance(session, job, JobState.FAILED, now=LATER)
        assert open_failures(session) == [study_id]


def test_another_delivery_that_fails_later_needs_a_person(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study_id = add_failed(session)
        acknowledge(session, study_id, NOON)
        report_id = session.exec(select(Delivery.report_id)).one()
        add_delivery(session, session.get_one(Report, report_id), destination="ris", state="failed")
        assert open_failures(session) == [study_id]
        assert study_status(session, session.get_one(Study, study_id)).where == "failed"


def test_a_second_failure_of_a_study_is_a_line_of_its_own_and_in_its_reason(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study_id = add_failed(session)
        acknowledge(session, study_id, NOON)
        report = session.get_one(Report, session.exec(select(Delivery.report_id)).one())
        ris = add_delivery(session, report, destination="ris", state="failed", reason="ris refused it")
        settle_job(session, ris, LATER)
        session.refresh(session.exec(select(Job)).one())
        assert "delivery to ris failed: ris refused it" in study_status(session, session.get_one(Study, study_id)).why
        newest = session.exec(select(Transition).order_by(col(Transition.id).desc())).first()
        assert newest is not None
        assert (newest.row_kind, newest.new, newest.at) == ("job", "failed", LATER)


@pytest.mark.parametrize("state", [JobState.DONE, JobState.SKIPPED, JobState.QUEUED])
def test_where_nothing_has_failed_there_is_nothing_to_see(state: JobState, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session, pytest.raises(Permanent, match="nothing of it has failed"):
        acknowledge(session, add_job(session, state=state).study_id, NOON)


def test_it_is_seen_once(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study_id = add_failed(session)
        acknowledge(session, study_id, NOON)
        with pytest.raises(Permanent, match="that was not seen before"):
            acknowledge(session, study_id, LATER)
