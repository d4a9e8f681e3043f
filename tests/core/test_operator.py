"""What a person may do to a study that is stuck."""

from datetime import timedelta

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, add_study, all_of, only
from sqlmodel import Session
from waiting import in_threads

from dicom_node.database import Sessions
from dicom_node.deliveries import may_have_arrived
from dicom_node.errors import Permanent
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job, Transition
from dicom_node.operator import retry
from dicom_node.settlement import settle_job
from dicom_node.states import UNCHANGED, DeliveryState, JobState

LATER = NOON + timedelta(hours=1)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.SKIPPED])
def test_a_job_without_a_draft_is_drafted_again_with_all_its_attempts(state: JobState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = add_job(session, state=state, attempts=3, reason="no answer")
        assert retry(session, job.study_id, LATER) == "drafts again"
    job = only(sessions, Job)
    assert (job.state, job.attempts, job.due_at, job.revision) == ("queued", 0, LATER, 1)
    assert all_of(sessions, Transition)[-1].reason == "an operator asked to draft again"


def test_failed_deliveries_are_sent_again_as_the_same_bytes(sessions: Sessions) -> None:
    with sessions.begin() as session:
        report = add_report(session, add_job(session, state="failed"))
        add_delivery(session, report, state="failed", attempts=9, payload=b"SR", identifier="1.2", ack_code="A900")
        add_delivery(session, report, destination="ris", state="delivered", attempts=1, payload=b"ORU")
        assert retry(session, only_study(session, report.job_id), LATER) == "sends again to pacs"
    again, delivered = all_of(sessions, Delivery)
    assert (again.state, again.attempts, again.due_at) == ("pending", 0, LATER)
    assert (again.payload, again.identifier) == (b"SR", "1.2")
    assert not may_have_arrived(again)  # it was refused, and nothing went out since
    assert delivered.state == "delivered"
    assert only(sessions, Job).state == "reported"


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.FAILED, JobState.SKIPPED}))
def test_a_job_that_is_not_stuck_is_refused(state: JobState, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        job = add_job(session, state=state)
        with pytest.raises(Permanent, match=f"its job is {state}, only failed and skipped ones can be retried"):
            retry(session, job.study_id, NOON)


def test_a_study_without_a_job_is_refused(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session, pytest.raises(Permanent, match="study 4711: there is no job yet"):
        retry(session, 4711, NOON)


@pytest.mark.parametrize(
    ("states", "after"),
    [
        (["failed", "failed"], ["failed", "queued"]),
        (["done", "skipped"], ["done", "queued"]),
        (["failed", "unchanged"], ["queued", "skipped"]),  # the skipped one is no answer to the failure
        (["failed", "skipped"], ["failed", "queued"]),  # a contradiction is: the earlier draft is not sent again
    ],
)
def test_the_revision_that_says_where_the_study_is_is_retried(
    states: list[str], after: list[str], sessions: Sessions
) -> None:
    with sessions.begin() as session:
        study = add_study(session)
        for revision, state in enumerate(states, start=1):
            reason = f"{UNCHANGED} (revision 1)" if state == "unchanged" else ""
            add_job(session, study, state="skipped" if reason else state, revision=revision, reason=reason)
        retry(session, study.id or 0, NOON)
    assert [job.state for job in all_of(sessions, Job)] == after


def test_a_delivery_that_fails_while_an_operator_resends_is_not_lost(postgres_sessions: Sessions) -> None:
    """Whichever is first, the study is not left with a failed delivery in a job that waits for ever."""
    for _ in range(20):
        with postgres_sessions.begin() as session:
            report = add_report(session, add_job(session, state="failed"))
            add_delivery(session, report, state="failed")
            sending = add_delivery(session, report, destination="ris", state="sending", attempts=1)
            study_id, job_id = only_study(session, report.job_id), report.job_id
        works = [lambda s=study_id: resend(postgres_sessions, s), lambda d=sending: fail(postgres_sessions, d)]
        in_threads(lambda w=works: w.pop()(), 2)
        with postgres_sessions() as session:
            job = session.get_one(Job, job_id)
            failed = session.get_one(Delivery, sending.id).state == DeliveryState.FAILED
            assert job.state == JobState.FAILED or not failed


def resend(sessions: Sessions, study_id: int) -> None:
    with sessions.begin() as session:
        retry(session, study_id, NOON)


def fail(sessions: Sessions, delivery: Delivery) -> None:
    with sessions.begin() as session:
        session.add(delivery)
        advance(session, delivery, DeliveryState.FAILED, now=NOON, reason="refused")
        settle_job(session, delivery, NOON)


def only_study(session: Session, job_id: int) -> int:
    return session.get_one(Job, job_id).study_id
