"""How the node does: studies an hour, the disk and when it will be full, what waits and since when."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy
from sqlmodel import Session, and_, case, col, func, or_, select

from dicom_node.config import Settings
from dicom_node.models import Delivery, Instance, Job, Series, Study, Transition
from dicom_node.states import DeliveryState, JobState

HOURS = 24
_RATE_OVER = timedelta(days=7)
_DAY = timedelta(days=1)
_RECEIVED, _DRAFTED, _DELIVERED, _FAILED = "received", "drafted", "delivered", "failed"
SERIES = (_RECEIVED, _DRAFTED, _DELIVERED, _FAILED)


@dataclass(frozen=True)
class Throughput:
    """Studies by the hour, the last hour being the one that runs."""

    hours: Sequence[datetime]  # when each begins
    counts: Mapping[str, Sequence[int]]  # by SERIES


@dataclass(frozen=True)
class Disk:
    """Where images are kept; bytes."""

    total: int
    free: int
    kept_back: int
    received_a_day: float

    @property
    def days_left(self) -> float | None:
        """Until what is kept back is touched, if it goes on like this and nothing is removed. None: nothing comes."""
        return max(0, self.free - self.kept_back) / self.received_a_day if self.received_a_day else None


@dataclass(frozen=True)
class Queue:
    """Rows that wait for the same."""

    name: str
    count: int
    since: datetime | None  # when the oldest came


def throughput(session: Session, now: datetime) -> Throughput:
    """From the timeline."""
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=before) for before in reversed(range(HOURS))]
    kind, old, new, at = (col(each) for each in (Transition.row_kind, Transition.old, Transition.new, Transition.at))
    came_into = {
        _RECEIVED: and_(kind == "study", old == ""),
        _DRAFTED: and_(kind == "job", new == JobState.REPORTED, old == JobState.INFERRING),
        _DELIVERED: and_(kind == "job", new == JobState.DONE, old != new),
        _FAILED: and_(kind == "job", new == JobState.FAILED, old != new),
    }
    series = case(*((is_of, name) for name, is_of in came_into.items()))
    each_hour = (func.count(case(((at >= hour) & (at < hour + timedelta(hours=1)), 1))) for hour in hours)
    counted = sqlalchemy.select(series, *each_hour).where(at >= hours[0], or_(*came_into.values())).group_by(series)
    found = {name: counts for name, *counts in session.execute(counted)}
    return Throughput(hours, {name: found.get(name, [0] * HOURS) for name in SERIES})


def disk(session: Session, settings: Settings, now: datetime) -> Disk:
    """Raises OSError where the folder is away."""
    usage = shutil.disk_usage(settings.instances_dir)
    return Disk(usage.total, usage.free, settings.min_free_bytes, _received_a_day(session, now))


def queues(session: Session) -> Sequence[Queue]:
    waiting = select(func.count(), func.min(Job.created_at)).where(Job.state == JobState.QUEUED)
    drafts, drafts_since = session.exec(waiting).one()
    open_states = (DeliveryState.PENDING, DeliveryState.SENDING)
    unsent = select(func.count(), func.min(Delivery.created_at)).where(col(Delivery.state).in_(open_states))
    deliveries, deliveries_since = session.exec(unsent).one()
    return (
        Queue("Studies that wait for a draft", drafts, drafts_since),
        Queue("Deliveries that wait for their peer", deliveries, deliveries_since),
    )


def _received_a_day(session: Session, now: datetime) -> float:
    """Bytes, over a week; over what there is of it, but a day at least, on a new node."""
    since = now - _RATE_OVER
    received = (
        select(func.coalesce(func.sum(Instance.size_bytes), 0), func.min(Instance.received_at))
        .join(Series, col(Series.id) == col(Instance.series_id))
        .join(Study, col(Study.id) == col(Series.study_id))
        .where(Study.last_received_at >= since, Instance.received_at >= since)  # the first is indexed
    )
    total, first = session.exec(received).one()
    return 0.0 if first is None else float(total) / (max(now - first, _DAY) / _DAY)
