"""Metrics of what has not ended: few rows, which the indexes of their states find."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy
from prometheus_client import Metric
from sqlalchemy import ColumnElement
from sqlmodel import Session, SQLModel, col, func, select

from dicom_node.audit_shipping import waiting_s
from dicom_node.config import Settings
from dicom_node.failures import failed_without_study, needs_person
from dicom_node.metrics.families import gauge
from dicom_node.models import Commitment, Delivery, Job, Pull, Study
from dicom_node.queue import oldest_due
from dicom_node.states import DeliveryState, JobState, StudyState

_JOBS = (JobState.QUEUED, JobState.INFERRING, JobState.REPORTED, JobState.FAILED)
_DELIVERIES = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED)
_A_WEEK = timedelta(days=7)
_FAILED: tuple[tuple[type[SQLModel], ColumnElement[bool]], ...] = (
    (Job, needs_person(Job)),
    (Delivery, (col(Delivery.state) == DeliveryState.FAILED) & col(Delivery.seen_at).is_(None)),
)


def studies(session: Session, now: datetime) -> Iterator[Metric]:
    receiving = session.exec(select(func.count()).where(Study.state == StudyState.RECEIVING)).one()
    yield gauge("studies_receiving", "Studies of which images may still come.", (), [((), receiving)])
    last = session.exec(select(func.max(Study.last_received_at)).where(Study.last_received_at <= now)).one()
    ages = [] if last is None else [((), _age_s(last, now))]
    yield gauge("last_object_age_seconds", "Since an object came in; nothing before the first.", (), ages)


def jobs(session: Session, now: datetime) -> Iterator[Metric]:
    counted = select(Job.state, func.count()).where(col(Job.state).in_(_JOBS)).group_by(Job.state)
    counts = dict(session.exec(counted).all())
    samples = [((str(state),), float(counts.get(state, 0))) for state in _JOBS]
    yield gauge("jobs", "Jobs that have not ended well.", ("state",), samples)
    oldest = oldest_due(session, now)
    yield gauge("oldest_queued_job_seconds", "Since the oldest is due; 0: none waits.", (), [((), _age_s(oldest, now))])


def deliveries(session: Session, settings: Settings, now: datetime) -> Iterator[Metric]:
    """What the settings send is there before the first of it."""
    counts = {(name, str(kind), str(state)): 0.0 for name, kind in settings.deliveries for state in _DELIVERIES}
    oldest = dict.fromkeys(settings.destination_names, 0.0)
    for (name, kind, state), count, created_at in _open_deliveries(session):
        counts[name, kind, state] = float(count)
        if state != DeliveryState.FAILED:
            oldest[name] = max(oldest.get(name, 0.0), _age_s(created_at, now))
    labels = ("destination", "kind", "state")
    yield gauge("deliveries", "Deliveries that have not ended well.", labels, counts.items())
    ages = (((name,), age_s) for name, age_s in oldest.items())
    yield gauge("oldest_pending_delivery_seconds", "Age of the oldest; 0: none waits.", ("destination",), ages)


def _open_deliveries(session: Session) -> list[tuple[tuple[str, str, str], int, datetime]]:
    """Destination, kind and state; how many; when the oldest of them was added."""
    keys = (col(Delivery.destination), col(Delivery.kind), col(Delivery.state))
    counted = sqlalchemy.select(*keys, func.count(), func.min(col(Delivery.created_at)))
    found = session.execute(counted.where(col(Delivery.state).in_(_DELIVERIES)).group_by(*keys))
    return [((name, kind, state), count, created_at) for name, kind, state, count, created_at in found]


def audit(session: Session, settings: Settings, now: datetime) -> Iterator[Metric]:
    """Nothing is said where no collector is named, or while the trail cannot be read."""
    if settings.audit_syslog is None:
        return
    with suppress(OSError):
        age_s = waiting_s(session, settings, now)
        yield gauge(
            "audit_waiting_seconds", "Age of the oldest message for the collector; 0: none waits.", (), [((), age_s)]
        )


def failures(session: Session, now: datetime) -> Iterator[Metric]:
    """Without what a person has acknowledged; of pulls and commitments, which nobody can, those of a week."""
    samples = [(_row(model), session.exec(select(func.count()).where(failed)).one()) for model, failed in _FAILED]
    samples += [(_row(model), failed_without_study(session, model, now - _A_WEEK)[0]) for model in (Commitment, Pull)]
    yield gauge("waits_for_person", "Rows that failed, and stay so until a person looks.", ("row",), samples)


def _row(model: type[SQLModel]) -> tuple[str]:
    return (str(model.__tablename__),)


def _age_s(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
