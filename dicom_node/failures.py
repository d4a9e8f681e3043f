"""Failures that wait for a person, and those that a person has seen and left as they are."""

from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, or_, select

from dicom_node.errors import Permanent
from dicom_node.lifecycle import note
from dicom_node.models import Delivery, Job, Report
from dicom_node.states import DeliveryState, JobState

SEEN = "seen"  # where a study is whose failure was acknowledged


def needs_person(job: type[Job]) -> ColumnElement[bool]:
    """Of a job, or an alias of it: it failed, and nobody has seen that yet, or nobody what failed of it since."""
    delivery, report = aliased(Delivery), aliased(Report)
    unseen = (
        select(delivery.id)
        .join(report, col(report.id) == col(delivery.report_id))
        .where(col(report.job_id) == col(job.id), col(delivery.state) == DeliveryState.FAILED)
        .where(col(delivery.seen_at).is_(None))
    )
    is_unseen = or_(col(job.seen_at).is_(None), exists(unseen.correlate(job)))
    return (col(job.state) == JobState.FAILED) & is_unseen


def is_seen(session: Session, job: Job) -> bool:
    """Whether the job failed and somebody has acknowledged all of it."""
    if job.state != JobState.FAILED:
        return False
    return session.exec(select(Job.id).where(Job.id == job.id, needs_person(Job))).first() is None


def acknowledge(session: Session, study_id: int, now: datetime, *, by: str = "an operator") -> str:
    """Take what failed of a study off the list of what needs a person; it stays failed. Returns what, in words.

    by: who has seen it. What fails later, also after another try, needs a person again.
    Raises Permanent where nothing has failed, or all of it was seen before.
    """
    failed = select(Job).where(Job.study_id == study_id, Job.state == JobState.FAILED)
    jobs = session.exec(failed.with_for_update()).all()
    of_study = select(Delivery).join(Report).join(Job).where(Job.study_id == study_id)
    deliveries = session.exec(of_study.where(Delivery.state == DeliveryState.FAILED).with_for_update(of=Delivery)).all()
    rows: list[Job | Delivery] = [*jobs, *deliveries]
    if all(row.seen_at is not None for row in rows):
        raise Permanent(f"study {study_id}: nothing of it has failed that was not seen before")
    for row in rows:
        row.seen_at = now
        session.add(row)
    for job in jobs:
        job.seen_by = by
        note(session, job, now, f"seen by {by}")
    return f"seen: {'; '.join(job.reason for job in jobs) or 'a delivery failed'}"
