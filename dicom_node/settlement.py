"""What the end of a delivery means for its job."""

from datetime import datetime

from sqlmodel import Session, select

from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job, Report
from dicom_node.states import CLOSED, DeliveryState, JobState


def settle_job(session: Session, delivery: Delivery, now: datetime) -> None:
    """The last delivery, or its cancelling, ends its job; a failed one fails it.

    The lock lets two last deliveries see each other.
    """
    report = session.get_one(Report, delivery.report_id)
    job = session.exec(select(Job).where(Job.id == report.job_id).with_for_update()).one()
    if job.state != JobState.REPORTED:
        return
    if delivery.state == DeliveryState.FAILED:
        reason = f"delivery to {delivery.destination} failed: {delivery.reason}"
        advance(session, job, JobState.FAILED, now=now, reason=reason)
        return
    states = session.exec(select(Delivery.state).where(Delivery.report_id == report.id)).all()
    if all(state == DeliveryState.DELIVERED for state in states):
        advance(session, job, JobState.DONE, now=now, reason="every destination has it")
    elif all(state in (DeliveryState.DELIVERED, DeliveryState.CANCELLED) for state in states):
        advance(session, job, JobState.DONE, now=now, reason=CLOSED)
