"""What a person may do to a study that is stuck: one command, whatever the cause was."""

from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from dicom_node.errors import Permanent
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job, Report
from dicom_node.states import DeliveryState, JobState
from dicom_node.timeline import current_job


def retry(session: Session, study_id: int, now: datetime, *, by: str = "an operator") -> str:
    """Try a failed or skipped study again: its failed deliveries as the same bytes, or its draft. Returns what happens.

    by: who asked, in words for the timeline.
    Raises Permanent, with the reason, when there is nothing to retry.
    """
    job = current_job(session, study_id)
    if job is None:
        raise Permanent(f"study {study_id}: there is no job yet")
    session.refresh(job, with_for_update=True)  # a delivery that fails now waits, and then finds the job resent
    if job.state not in (JobState.FAILED, JobState.SKIPPED):
        raise Permanent(f"study {study_id}: its job is {job.state}, only failed and skipped ones can be retried")
    failed = _failed_deliveries(session, job)
    try:
        return _resend(session, job, failed, now, by) if failed else _redraft(session, job, now, by)
    except IntegrityError as error:
        raise Permanent(f"study {study_id}: another draft of it is under way, retry when that has ended") from error


def _failed_deliveries(session: Session, job: Job) -> list[Delivery]:
    statement = select(Delivery).join(Report).where(Report.job_id == job.id, Delivery.state == DeliveryState.FAILED)
    return list(session.exec(statement))


def _resend(session: Session, job: Job, failed: list[Delivery], now: datetime, by: str) -> str:
    advance(session, job, JobState.REPORTED, now=now, reason=f"{by} asked to resend")
    for delivery in failed:
        advance(
            session,
            delivery,
            DeliveryState.PENDING,
            now=now,
            reason=f"{by} asked to resend",
            due_at=now,
            attempts=0,
        )
    return f"sends again to {', '.join(delivery.destination for delivery in failed)}"


def _redraft(session: Session, job: Job, now: datetime, by: str) -> str:
    advance(session, job, JobState.QUEUED, now=now, reason=f"{by} asked to draft again", due_at=now, attempts=0)
    return "drafts again"
