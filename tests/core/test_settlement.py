"""What the end of a delivery means for its job."""

from doubles import NOON
from rows import add_delivery, add_job, add_report, only
from sqlmodel import col, select

from dicom_node.database import Sessions
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job
from dicom_node.settlement import settle_job
from dicom_node.states import CLOSED, DeliveryState


def test_a_failure_says_what_of_the_draft_was_not_taken(sessions: Sessions) -> None:
    with sessions.begin() as session:
        report = add_report(session, add_job(session, state="reported"))
        pdf = add_delivery(session, report, kind="pdf", state="failed", reason="no PDF here")
        settle_job(session, pdf, NOON)
        assert session.exec(select(Job.reason)).one() == "delivery to pacs pdf failed: no PDF here"


def test_what_ended_since_it_was_read_has_ended(postgres_sessions: Sessions) -> None:
    with postgres_sessions.begin() as session:
        report = add_report(session, add_job(session, state="reported"))
        add_delivery(session, report)
        add_delivery(session, report, destination="ris", state="sending", attempts=1)
    with postgres_sessions.begin() as session:
        pending, on_its_way = session.exec(select(Delivery).order_by(col(Delivery.id))).all()
        with postgres_sessions.begin() as relay:
            sent = relay.get_one(Delivery, on_its_way.id)
            advance(relay, sent, DeliveryState.DELIVERED, now=NOON)
            settle_job(relay, sent, NOON)
        advance(session, pending, DeliveryState.CANCELLED, now=NOON, reason=CLOSED)
        settle_job(session, pending, NOON)
    job = only(postgres_sessions, Job)
    assert (job.state, job.reason) == ("done", CLOSED)
