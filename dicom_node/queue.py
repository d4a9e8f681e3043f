"""The bell: a Celery message that holds a job's id. The row is the truth; a lost bell is rung again."""

from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, or_, select

from dicom_node.clock import CLOCKS_DIFFER
from dicom_node.config import Settings
from dicom_node.models import Job
from dicom_node.states import JobState

TASK_NAME = "workers.infer"
QUEUE_NAME = "infer"
RING_AGAIN_AFTER_S = 60.0
_WAS_RUNG = col(Job.rung_at) >= col(Job.due_at)  # for this try: a job that was put back is due anew


class Bell(Protocol):
    """What wakes the workers."""

    def ring(self, job_id: int, priority: int) -> bool:
        """Whether the broker has it."""

    def unheard(self) -> int:
        """How many rings lie at the broker that no worker has taken."""


def ready(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    """Of a job: a worker may take it. Where there are rules, they are asked first: they say how urgent it is."""
    return () if settings.rules_file is None else (col(Job.decision).is_not(None),)


def jobs_to_ring(session: Session, now: datetime, *conditions: ColumnElement[bool]) -> list[Job]:
    """Jobs the broker has not heard of since they are due, most urgent first.

    A ring of a time that is still to come, by a clock that was ahead, says nothing of this try or an earlier one.
    """
    is_to_come = col(Job.rung_at) > now + CLOCKS_DIFFER
    return _due(session, now, or_(col(Job.rung_at).is_(None), ~_WAS_RUNG, is_to_come), *conditions)


def jobs_long_rung(session: Session, now: datetime, *conditions: ColumnElement[bool]) -> list[Job]:
    """Jobs that still wait though the broker has long heard of them, most urgent first: a bell may be lost."""
    return _due(session, now, _WAS_RUNG, col(Job.rung_at) < now - timedelta(seconds=RING_AGAIN_AFTER_S), *conditions)


def count_due(session: Session, now: datetime, *conditions: ColumnElement[bool]) -> int:
    """How many jobs wait for a worker."""
    return session.exec(select(func.count()).select_from(Job).where(*_is_due(now), *conditions)).one()


def oldest_due(session: Session, now: datetime) -> datetime | None:
    """Since when the job that has waited longest for a worker is due; None: none waits."""
    return session.exec(select(func.min(Job.due_at)).where(*_is_due(now))).one()


def _due(session: Session, now: datetime, *conditions: ColumnElement[bool]) -> list[Job]:
    due = select(Job).where(*_is_due(now), *conditions)
    return list(session.exec(due.order_by(col(Job.priority), col(Job.due_at)).limit(200)))


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return col(Job.state) == JobState.QUEUED, col(Job.due_at) <= now
