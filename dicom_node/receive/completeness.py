"""When a study is complete: a PACS never says so, therefore when it has been quiet long enough."""

from datetime import datetime, timedelta

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from dicom_node import lifecycle
from dicom_node.models import Delivery, Job, Report, Study
from dicom_node.states import ACTIVE_JOB_STATES, OPEN_DELIVERY_STATES, StudyState


def close_quiet_studies(session: Session, *, now: datetime, idle_timeout_s: float) -> list[Job]:
    """Complete every study that is quiet for idle_timeout_s and whose last draft is settled; queue a job for each.

    Returns the new jobs. A study with an active job or an open delivery waits for its end: one draft of a study at a
    time, and none overtakes another.
    """
    return [_close(session, study, now) for study in _quiet_studies(session, now, timedelta(seconds=idle_timeout_s))]


def _quiet_studies(session: Session, now: datetime, idle: timedelta) -> list[Study]:
    active = select(Job.study_id).where(col(Job.state).in_(ACTIVE_JOB_STATES))
    delivering = select(Job.study_id).join(Report).join(Delivery).where(col(Delivery.state).in_(OPEN_DELIVERY_STATES))
    # Received in the future: the clock was set back since, and the study has been quiet for all we know.
    is_quiet = or_(col(Study.last_received_at) <= now - idle, col(Study.last_received_at) > now + idle)
    quiet = select(Study).where(
        Study.state == StudyState.RECEIVING, is_quiet, col(Study.id).not_in(active), col(Study.id).not_in(delivering)
    )
    return list(session.exec(quiet.order_by(col(Study.id)).with_for_update(skip_locked=True)))


def _close(session: Session, study: Study, now: datetime) -> Job:
    lifecycle.advance(session, study, StudyState.COMPLETE, now=now, reason="no image for the idle time")
    newest = session.exec(select(func.max(Job.revision)).where(Job.study_id == study.id)).one()
    job = Job(study_id=study.id, revision=(newest or 0) + 1, due_at=now, created_at=now)  # type: ignore[arg-type]
    lifecycle.begin(session, job, now, reason="study complete")
    return job
