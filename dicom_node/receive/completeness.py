"""When a study is complete: when it has been quiet long enough, or sooner, when something says so.

Whatever says so is a row (`Declaration`, `PerformedStep`) or a column of the study, written in the transaction of the
fact: it may come before the first image, and no restart forgets it. None of it can keep a study open for longer.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import distinct, func, or_
from sqlmodel import Session, col, select

from dicom_node import lifecycle
from dicom_node.database import Sessions
from dicom_node.models import Instance, Job, PerformedStep, Series, StepStatus, Study
from dicom_node.orders import priority_of
from dicom_node.peers import Completeness
from dicom_node.receive.declarations import fulfilled, spend
from dicom_node.states import DRAFTING_JOB_STATES, StudyState

MOST_AT_ONCE = 100  # studies closed in one transaction: whoever receives does not wait longer for the database
_QUIET = "no image for the idle time"
_RELEASED = "the association that sent it was released"
_ANY_OPEN = select(Study.id).where(Study.state == StudyState.RECEIVING).limit(1)


def is_any_open(sessions: Sessions) -> bool:
    """Whether images may still come to any study: asked over and over, this costs little and holds up no writer."""
    with sessions() as session:
        return session.connection().execute(_ANY_OPEN).first() is not None


def close_quiet_studies(session: Session, *, now: datetime, idle_timeout_s: float, rules: Completeness) -> list[Job]:
    """Complete every study that is quiet for idle_timeout_s, or that is settled and complete by a rule; queue its job.

    Returns the new jobs, of the studies that have been quiet longest where there are many. A study that is being
    drafted waits for the end of that: one draft of a study at a time. An earlier draft that is not delivered yet does
    not hold up the next, which takes its place.
    """
    idle, settle = timedelta(seconds=idle_timeout_s), timedelta(seconds=rules.settle_s)
    studies = _open_studies(session, now, idle=idle, settle=settle)
    reasons = {study.study_instance_uid: _QUIET for study in studies if _is_quiet(study, now, idle)}
    settled = [study for study in studies if study.last_received_at <= now - settle]
    reasons |= _complete_by_rule(session, settled, rules)
    return [
        _close(session, study, now, reasons[study.study_instance_uid])
        for study in studies
        if study.study_instance_uid in reasons
    ]


def _open_studies(session: Session, now: datetime, *, idle: timedelta, settle: timedelta) -> list[Study]:
    """The studies that may be closed, locked: quiet for the shorter time, and not being drafted."""
    drafting = select(Job.study_id).where(col(Job.state).in_(DRAFTING_JOB_STATES))
    last = col(Study.last_received_at)
    is_quiet = or_(last <= now - min(idle, settle), last > now + idle)
    may_close = select(Study).where(Study.state == StudyState.RECEIVING, is_quiet, col(Study.id).not_in(drafting))
    longest_quiet = may_close.order_by(last, col(Study.id)).limit(MOST_AT_ONCE)
    return list(session.exec(longest_quiet.with_for_update(skip_locked=True)))


def _is_quiet(study: Study, now: datetime, idle: timedelta) -> bool:
    # Received in the future: the clock was set back since, and the study has been quiet for all we know.
    return study.last_received_at <= now - idle or study.last_received_at > now + idle


def _complete_by_rule(session: Session, studies: Collection[Study], rules: Completeness) -> dict[str, str]:
    """Why studies are complete, by Study Instance UID: the strongest reason. A modality still at work overrules all."""
    at_work = _at_work(session, studies)
    studies = [study for study in studies if study.study_instance_uid not in at_work]
    reasons = _counted(session, studies, rules.image_count) if rules.image_count else {}
    if rules.on_release:
        reasons |= {study.study_instance_uid: _RELEASED for study in studies if _is_released(study)}
    return reasons | fulfilled(session, studies)


def _at_work(session: Session, studies: Collection[Study]) -> frozenset[str]:
    """The Study Instance UIDs of which a performed procedure step is in progress."""
    ours = col(PerformedStep.study_instance_uid).in_([study.study_instance_uid for study in studies])
    statement = select(PerformedStep.study_instance_uid).where(ours, PerformedStep.status == StepStatus.IN_PROGRESS)
    return frozenset(session.exec(statement))


def _is_released(study: Study) -> bool:
    """Nothing came since whoever sent it had released the association."""
    return study.released_at is not None and study.released_at >= study.last_received_at


def _counted(session: Session, studies: Collection[Study], enough: int) -> dict[str, str]:
    """The studies of which enough radiographs came; one sent again, or with other bytes, does not count twice."""
    from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES  # and pydicom: 30 MB that few sweeps need

    images = func.count(distinct(col(Instance.sop_instance_uid)))
    statement = (
        select(Study.study_instance_uid, images)
        .join(Series, col(Series.study_id) == col(Study.id))
        .join(Instance)
        .where(col(Study.id).in_([study.id for study in studies]))
        .where(col(Instance.sop_class_uid).in_(RADIOGRAPH_SOP_CLASSES))
        .group_by(col(Study.study_instance_uid))
        .having(images >= enough)
    )
    return {
        uid: f"images that came: {count}, enough by image_count: {enough}" for uid, count in session.exec(statement)
    }


def _close(session: Session, study: Study, now: datetime, reason: str) -> Job:
    lifecycle.advance(session, study, StudyState.COMPLETE, now=now, reason=reason)
    spend(session, study)
    newest = session.exec(select(func.max(Job.revision)).where(Job.study_id == study.id)).one()
    job = Job(
        study_id=study.id,  # type: ignore[arg-type]
        revision=(newest or 0) + 1,
        priority=priority_of(session, study),
        due_at=now,
        created_at=now,
    )
    lifecycle.begin(session, job, now, reason="study complete")
    return job
