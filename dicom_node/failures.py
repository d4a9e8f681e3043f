"""Failures that wait for a person, and those that a person has seen and left as they are."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, exists, func, or_, select

from dicom_node.errors import Permanent
from dicom_node.lifecycle import note
from dicom_node.models import Commitment, Delivery, Job, Pull, Report, Transition
from dicom_node.seen import require_seen, word_for
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


def failed_without_study(
    session: Session, kind: type[Commitment] | type[Pull], since: datetime | None = None
) -> tuple[int, int]:
    """How many have failed, and the newest of these moves; 0: none. Nobody can acknowledge them.

    since: only what failed then or later.
    """
    is_its_failure = (
        (col(Transition.row_kind) == kind.__tablename__)
        & (col(Transition.row_id) == col(kind.id))
        & (col(Transition.new) == "failed")
    )
    counted = select(func.count(func.distinct(col(kind.id))), func.max(Transition.id)).join(Transition, is_its_failure)
    counted = counted.where(kind.state == "failed")
    count, newest = session.exec(counted if since is None else counted.where(col(Transition.at) >= since)).one()
    return count, newest or 0


def is_seen(session: Session, job: Job) -> bool:
    """Whether the job failed and somebody has acknowledged all of it."""
    if job.state != JobState.FAILED:
        return False
    return session.exec(select(Job.id).where(Job.id == job.id, needs_person(Job))).first() is None


def failures_of(session: Session, study_id: int, *, lock: bool = False) -> Sequence[Job | Delivery]:
    """What failed of a study, its jobs first, also what was seen. lock: it stays so until the transaction ends."""
    jobs = select(Job).where(Job.study_id == study_id, Job.state == JobState.FAILED).order_by(col(Job.id))
    of_study = select(Delivery).join(Report).join(Job).where(Job.study_id == study_id)
    deliveries = of_study.where(Delivery.state == DeliveryState.FAILED).order_by(col(Delivery.id))
    if lock:
        jobs, deliveries = jobs.with_for_update(), deliveries.with_for_update(of=Delivery)
    return [*session.exec(jobs), *session.exec(deliveries)]


def word_for_failures(failures: Sequence[Job | Delivery]) -> str:
    """For the form in which somebody says to have seen them."""
    return word_for((row.__tablename__, row.id, row.reason) for row in failures)


def acknowledge(
    session: Session, study_id: int, now: datetime, *, by: str = "an operator", seen: str | None = None
) -> str:
    """Take what failed of a study off the list of what needs a person; it stays failed. Returns what, in words.

    by: who has seen it. seen: the word for what was shown to them; else what has failed by now. What fails later, also
    after another try, needs a person again. Raises Permanent where nothing has failed, or all of it was seen before.
    """
    rows = failures_of(session, study_id, lock=True)
    if all(row.seen_at is not None for row in rows):
        raise Permanent(f"study {study_id}: nothing of it has failed that was not seen before")
    require_seen(study_id, seen, word_for_failures(rows))
    for row in rows:
        row.seen_at = now
        session.add(row)
    jobs = [row for row in rows if isinstance(row, Job)]
    for job in jobs:
        job.seen_by = by
        note(session, job, now, f"seen by {by}")
    return f"seen: {'; '.join(job.reason for job in jobs) or 'a delivery failed'}"
