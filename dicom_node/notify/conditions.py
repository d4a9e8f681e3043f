"""What somebody should be told of: found by looking at rows, roles and the disk. No patient is in the words."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Mapped
from sqlmodel import Session, col, func, select

from dicom_node.audit_shipping import waiting_s
from dicom_node.certificates import WARN_BEFORE, WARN_BEFORE_CRL, crls_left, expires_at
from dicom_node.config import Settings
from dicom_node.failures import failed_without_study, needs_person
from dicom_node.health import absent, conditions
from dicom_node.models import Commitment, Delivery, Job, Pull, Study, Transition
from dicom_node.notify.working_time import working_s
from dicom_node.queue import oldest_due
from dicom_node.roles import roles_of
from dicom_node.states import DeliveryState, JobState

_MUCH_BETTER = 0.5  # a backlog is over when half of it is
_A_LITTLE_MORE = 1.1  # of the free disk: or a log file would raise it and clear it
_HOUR_S = 3_600.0
_DAY = timedelta(days=1)
_WITHOUT_STUDY: tuple[tuple[type[Commitment] | type[Pull], str], ...] = (
    (Pull, "studies were not pulled: `dicom-node pull NAME` says why."),
    (Commitment, "results of storage commitment were not told: `dicom-node commitments` says why."),
)


@dataclass(frozen=True)
class Finding:
    """One condition as it is now. Between raised and over it stays what it was."""

    condition: str  # "disk", "role scp": what it is known by from look to look
    kind: str  # what channels ask for
    is_raised: bool
    is_over: bool
    words: str  # a sentence of what is so, raised or over
    newest: int = 0  # the newest of what it is about, of failures
    page: str = ""  # where the page shows it


def look(session: Session, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Every condition, raised or not."""
    yield _failure(session)
    yield from _failures_without_study(session)
    yield from _silence(session, settings, now)
    yield _backlog(session, settings, now)
    yield from _audit(session, settings, now)
    yield from _roles(session, settings, now)
    yield from _certificates(settings, now)


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """Nothing where it cannot be asked: a role says then that it is not well."""
    least = settings.alarms.free_bytes
    try:
        free = shutil.disk_usage(settings.instances_dir).free
    except OSError:
        return
    words = f"{free / 1e9:.1f} GB of the disk are free (alarms.free_bytes: {least / 1e9:.1f} GB)."
    yield Finding("disk", "disk", free < least, free > least * _A_LITTLE_MORE, words)


def _failure(session: Session) -> Finding:
    count = session.exec(select(func.count()).select_from(Job).where(needs_person(Job))).one()
    is_failure = (Transition.row_kind == "job", Transition.new == JobState.FAILED)
    failed = select(Transition.id, Job.study_id).join(Job, col(Job.id) == col(Transition.row_id))
    newest = failed.where(*is_failure, needs_person(Job)).order_by(col(Transition.id).desc()).limit(1)
    found = session.exec(newest).first()
    if found is None:
        return Finding("failure", "failure", False, True, "No study waits for a person.")
    number, study_id = found
    words = f"{count} studies failed and wait for a person; the newest is study {study_id}."
    return Finding("failure", "failure", True, False, words, number or 0, f"/studies/{study_id}")


def _failures_without_study(session: Session) -> Iterator[Finding]:
    for kind, words in _WITHOUT_STUDY:
        count, newest = failed_without_study(session, kind)
        yield Finding(str(kind.__tablename__), "failure", count > 0, not count, f"{count} {words}", newest)


def _silence(session: Session, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Nothing before the first object: then nobody sends yet. What a clock that was ahead has dated says nothing."""
    last = session.exec(select(func.max(Study.last_received_at)).where(Study.last_received_at <= now)).one()
    if last is None:
        return
    alarms, zone = settings.alarms, ZoneInfo(settings.time_zone)
    quiet_h = working_s(last, now, hours=alarms.working_hours, days=alarms.working_days, zone=zone) / _HOUR_S
    is_raised = quiet_h >= alarms.silence_h
    words = f"No image came for {quiet_h:.1f} working hours." if is_raised else "Images come."
    yield Finding("silence", "silence", is_raised, not is_raised, words)


def _backlog(session: Session, settings: Settings, now: datetime) -> Finding:
    waiting = [("a worker", since) for since in (oldest_due(session, now),) if since is not None]
    waiting += _oldest_deliveries(session, now)
    waits_for, since = min(waiting, key=lambda each: each[1], default=("", now))
    age_s, limit_s = (now - since).total_seconds(), settings.alarms.backlog_s
    is_over = age_s < limit_s * _MUCH_BETTER
    words = "Nothing waits for long." if is_over else f"Drafts wait for {waits_for} for {age_s / 60:.0f} minutes."
    return Finding("backlog", "backlog", age_s > limit_s, is_over, words)


def _audit(session: Session, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Nothing while the trail cannot be read: nobody knows then."""
    with suppress(OSError):
        age_s, limit_s = waiting_s(session, settings, now), settings.alarms.backlog_s
        is_over = age_s < limit_s * _MUCH_BETTER
        words = "All are sent." if is_over else f"Audit messages wait for their collector for {age_s / 60:.0f} minutes."
        yield Finding("audit", "backlog", age_s > limit_s, is_over, words)


def _oldest_deliveries(session: Session, now: datetime) -> list[tuple[str, datetime]]:
    """By destination. Of one that was tried, since it was made: its next try is always near."""
    return [
        *_oldest(session, col(Delivery.due_at), Delivery.attempts == 0, Delivery.due_at <= now),
        *_oldest(session, col(Delivery.created_at), Delivery.attempts > 0),
    ]


def _oldest(session: Session, since: Mapped[datetime], *of: bool) -> list[tuple[str, datetime]]:
    pending = select(Delivery.destination, func.min(since)).where(Delivery.state == DeliveryState.PENDING, *of)
    return list(session.exec(pending.group_by(Delivery.destination)).all())


def _roles(session: Session, settings: Settings, now: datetime) -> Iterator[Finding]:
    """One of several processes of a role is enough: a killed container's row outlives it for an hour."""
    found = conditions(session, now)
    for role in roles_of(settings):
        own = [each for each in found if each.role == role]
        is_well = any(each.is_well for each in own)
        words = f"{role}: well." if is_well else " ".join((*(each.words for each in own), *absent([role], own)))
        yield Finding(f"role {role}", "role", not is_well, is_well, words)


def _certificates(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Of those that can be read; that others cannot be, the doctor says."""
    for used_by, tls in settings.all_tls.items():
        with suppress(OSError):
            left = expires_at(tls.certificate) - now
            when = f"ends in {left / _DAY:.1f} days" if left > timedelta(0) else "has ended"
            words = f"The certificate of {used_by} {when}."
            yield Finding(f"certificate {used_by}", "role", left < WARN_BEFORE, left >= WARN_BEFORE, words)
        with suppress(OSError):
            left_of_crl = crls_left(tls.ca, now) if tls.ca else None
            is_raised = left_of_crl is not None and left_of_crl < WARN_BEFORE_CRL
            words = f"A CRL of {used_by} is out of date, or will be within 12 hours: then nobody is let in."
            yield Finding(f"CRL {used_by}", "role", is_raised, not is_raised, words if is_raised else "It is new.")
