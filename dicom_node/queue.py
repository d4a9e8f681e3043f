"""The bell: a Celery message that holds a job's id. The row is the truth; a lost bell is rung again."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, or_, select

from dicom_node.config import Settings
from dicom_node.models import Job
from dicom_node.states import JobState

TASK_NAME = "workers.infer"
QUEUE_NAME = "infer"
RING_AGAIN_AFTER_S = 60.0

Ring = Callable[[int, int], bool]  # (job id, priority) -> the broker has it


def ready(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    """Of a job: a worker may take it. Where there are rules, they are asked first: they say how urgent it is."""
    return () if settings.rules_file is None else (col(Job.decision).is_not(None),)


def jobs_to_ring(session: Session, now: datetime, *conditions: ColumnElement[bool]) -> list[Job]:
    """Due jobs the broker has not heard of lately, most urgent first."""
    lately = now - timedelta(seconds=RING_AGAIN_AFTER_S)
    silent = or_(col(Job.rung_at).is_(None), col(Job.rung_at) < col(Job.due_at), col(Job.rung_at) < lately)
    due = select(Job).where(Job.state == JobState.QUEUED, Job.due_at <= now, silent, *conditions)
    return list(session.exec(due.order_by(col(Job.priority), col(Job.due_at)).limit(200)))
