"""What a person may do to a study that is stuck."""

from datetime import timedelta

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, add_study, all_of, only
from sqlmodel import Session, col, select
from waiting import in_threads

from dicom_node.database import Sessions
from dicom_node.deliveries import may_have_arrived
from dicom_node.errors import Permanent
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job, Study, Transition
from dicom_node.operator import resend, resendable, retry
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


def test_a_draft_beside_another_that_is_under_way_is_refused(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = add_study(session)
        add_job(session, study, state="inferring")
        study_id = add_job(session, study, revision=2, state="failed").study_id
    with sessions() as session, pytest.raises(Permanent, match="another draft of it is under way"):
        retry(session, study_id, NOON)


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
        works = [lambda s=study_id: resend_failed(postgres_sessions, s), lambda d=sending: fail(postgres_sessions, d)]
        in_threads(lambda w=works: w.pop()(), 2)
        with postgres_sessions() as session:
            job = session.get_one(Job, job_id)
            failed = session.get_one(Delivery, sending.id).state == DeliveryState.FAILED
            assert job.state == JobState.FAILED or not failed


def add_sent(session: Session, *, job_state: str = "done", **states: str) -> int:
    """A study whose draft was sent to destinations that are called so, with these states. Returns its number."""
    report = add_report(session, add_job(session, state=job_state))
    sent = {"ack_code": "0000", "attempts": 3, "due_at": LATER + timedelta(hours=1)}
    for name, state in states.items():
        add_delivery(session, report, destination=name, state=state, payload=name.encode(), **sent)
    return only_study(session, report.job_id)


def test_what_a_peer_has_is_sent_to_it_again_as_the_same_bytes(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study_id = add_sent(session, pacs="delivered", ris="delivered")
        assert resend(session, study_id, "pacs", LATER, by="anna") == "sends sr to pacs"
    pacs, ris = all_of(sessions, Delivery)
    assert (pacs.state, pacs.attempts, pacs.due_at, pacs.payload) == ("pending", 0, LATER, b"pacs")
    assert may_have_arrived(pacs)  # also while it waits, so that a withdrawal tells it
    assert ris.state == "delivered"
    assert only(sessions, Job).state == "reported"
    assert all_of(sessions, Transition)[-1].reason == "anna asked to send it to pacs"


def test_what_waits_for_its_next_attempt_is_sent_now(sessions: Sessions) -> None:
    with sessions.begin() as session:
        resend(session, add_sent(session, job_state="reported", pacs="pending"), "pacs", LATER)
    pacs = only(sessions, Delivery)
    assert (pacs.state, pacs.attempts, pacs.due_at) == ("pending", 3, LATER)


def test_one_of_two_that_failed_is_sent_again_and_the_study_stays_failed(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study_id = add_sent(session, job_state="failed", pacs="failed", ris="failed")
        resend(session, study_id, "pacs", LATER)
        assert only_job(session).state == "failed"
        pacs = session.exec(select(Delivery).order_by(col(Delivery.id))).first()
        assert pacs is not None
        arrive(session, pacs)
        assert only_job(session).state == "failed"
        resend(session, study_id, "ris", LATER)
        assert only_job(session).state == "reported"


def test_one_kind_alone_is_sent_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        report = add_report(session, add_job(session, state="done"))
        for kind in ("sr", "pdf"):
            add_delivery(session, report, kind=kind, state="delivered", payload=b"it")
        resend(session, only_study(session, report.job_id), "pacs", LATER, kind="pdf")
    assert [each.state for each in all_of(sessions, Delivery)] == ["delivered", "pending"]


def test_what_a_peer_had_committed_and_lost_all_the_same_is_sent_again(sessions: Sessions) -> None:
    with sessions.begin() as session:
        resend(session, add_sent(session, pacs="committed"), "pacs", LATER)
    pacs = only(sessions, Delivery)
    assert (pacs.state, pacs.payload, may_have_arrived(pacs)) == ("pending", b"pacs", True)


@pytest.mark.parametrize("state", ["sending", "cancelled"])
def test_what_cannot_be_sent_again_is_refused(state: str, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study_id = add_sent(session, pacs=state)
        assert resendable(session, session.get_one(Study, study_id)) == []
        with pytest.raises(Permanent, match="nothing that is for pacs can be sent now"):
            resend(session, study_id, "pacs", LATER)


def test_a_draft_that_was_withdrawn_is_not_sent_again_but_what_tells_so_is(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        report = add_report(session, add_job(session, state="failed"), withdrawn_at=NOON)
        add_delivery(session, report, state="delivered")
        add_delivery(session, report, kind="rejection", state="failed")
        resend(session, only_study(session, report.job_id), "pacs", LATER)
    assert [each.state for each in all_of(sqlite_sessions, Delivery)] == ["delivered", "pending"]


def test_a_study_without_a_draft_has_nothing_to_send(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session, pytest.raises(Permanent, match="it has no draft that could be sent"):
        resend(session, add_job(session, state="failed").study_id, "pacs", LATER)


def arrive(session: Session, delivery: Delivery) -> None:
    for state in (DeliveryState.SENDING, DeliveryState.DELIVERED):
        advance(session, delivery, state, now=NOON)
    settle_job(session, delivery, NOON)


def only_job(session: Session) -> Job:
    return session.exec(select(Job)).one()


def resend_failed(sessions: Sessions, study_id: int) -> None:
    with sessions.begin() as session:
        retry(session, study_id, NOON)


def fail(sessions: Sessions, delivery: Delivery) -> None:
    with sessions.begin() as session:
        session.add(delivery)
        advance(session, delivery, DeliveryState.FAILED, now=NOON, reason="refused")
        settle_job(session, delivery, NOON)


def only_study(session: Session, job_id: int) -> int:
    return session.get_one(Job, job_id).study_id
