"""What becomes of a delivery whose answer is known, and what its end means for its job."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, select

from dicom_node.backoff import next_due
from dicom_node.config import Settings
from dicom_node.lifecycle import advance, note, put_back
from dicom_node.models import Delivery, Job, Report
from dicom_node.states import CLOSED, SUPERSEDED, WITHDRAWN, DeliveryState, JobState


def send_later(
    session: Session, settings: Settings, delivery: Delivery, now: datetime, reason: str, *, ack_code: str = ""
) -> bool:
    """The same bytes again after a while, or FAILED when its attempts are used up. False: somebody else was first.

    ack_code: what proves that the peer does not have it from this attempt; empty if nothing does.
    """
    due_at = next_due(delivery.attempts, now, first_s=settings.retry_after_s, longest_s=settings.max_retry_after_s)
    limit = settings.max_delivery_attempts
    if not put_back(session, delivery, now=now, due_at=due_at, max_attempts=limit, reason=reason):
        return False
    delivery.ack_code = ack_code
    delivery.has_gone_out |= delivery.payload is not None and not ack_code
    session.add(delivery)
    return True


def settle_job(session: Session, delivery: Delivery, now: datetime) -> None:
    """The last delivery, or its cancelling, ends its job; a failed one fails it.

    The lock lets two last deliveries see each other, if each looks at the rows anew.
    """
    anew = {"populate_existing": True}
    session.flush()  # or what the caller has set is read over
    report = session.get_one(Report, delivery.report_id)
    job = session.exec(select(Job).where(Job.id == report.job_id).with_for_update(), execution_options=anew).one()
    reason = f"delivery to {delivery.name} failed: {delivery.reason}"
    if job.state == JobState.FAILED and delivery.state == DeliveryState.FAILED:
        job.reason = f"{job.reason}; {reason}"
        session.add(job)
        note(session, job, now, reason)  # whoever has seen the first failure has not seen this one
    if job.state != JobState.REPORTED:
        return
    if delivery.state == DeliveryState.FAILED:
        advance(session, job, JobState.FAILED, now=now, reason=reason)
        return
    of_report = select(Delivery).where(Delivery.report_id == report.id)
    deliveries = session.exec(of_report, execution_options=anew).all()
    if all(map(_has_ended, deliveries)):
        advance(session, job, JobState.DONE, now=now, reason=_end_in_words(report, deliveries))


def _end_in_words(report: Report, deliveries: Sequence[Delivery]) -> str:
    if report.withdrawn_at is not None:
        return WITHDRAWN
    unwanted = (each.reason for each in deliveries if each.reason in (CLOSED, SUPERSEDED))
    if words := next(unwanted, ""):
        return words
    has_all = all(each.state != DeliveryState.CANCELLED for each in deliveries)
    return "every destination has it" if has_all else "every destination has what there was to send"


def _has_ended(delivery: Delivery) -> bool:
    if delivery.state == DeliveryState.DELIVERED:
        return not delivery.wants_commitment
    return delivery.state in (DeliveryState.COMMITTED, DeliveryState.CANCELLED)
