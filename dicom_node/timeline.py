"""Where a study is, and why, in words."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, func, or_, select

from dicom_node.errors import Permanent
from dicom_node.failures import SEEN, is_seen, needs_person
from dicom_node.flags import flags_from_json, remark
from dicom_node.models import Delivery, Instance, Job, Report, Series, Study, Transition
from dicom_node.states import (
    ACTIVE_JOB_STATES,
    CLOSED,
    KEPT_HERE,
    SUPERSEDED,
    UNCHANGED,
    WITHDRAWN,
    DeliveryState,
    JobState,
    StudyState,
)


@dataclass(frozen=True)
class StudyStatus:
    """One line of `dicom-node status`."""

    study_id: int
    study_instance_uid: str
    received_at: datetime
    object_count: int
    where: str  # one word: receiving, queued, inferring, reported, skipped, failed, seen, done
    why: str  # a sentence


@dataclass(frozen=True)
class Moment:
    """One line of a timeline."""

    at: datetime
    what: str


_JOB_WORDS = {
    JobState.QUEUED: "waits for a worker",
    JobState.INFERRING: "a worker drafts the findings",
    JobState.DONE: "every destination has the draft",
}


_IS_WITHDRAWN = col(Report.withdrawn_at).is_not(None)


def list_statuses(session: Session, limit: int = 50) -> list[StudyStatus]:
    """The newest studies, and every older one that waits for a person; newest first."""
    failed = select(Job.study_id).where(needs_person(Job))
    newest = select(Study.id).order_by(col(Study.last_received_at).desc()).limit(limit)
    wanted = or_(col(Study.id).in_(failed), col(Study.id).in_(newest))
    studies = session.exec(select(Study).where(wanted).order_by(col(Study.last_received_at).desc())).all()
    return [study_status(session, study) for study in studies]


def find_study(session: Session, study_id: int) -> Study:
    """Raises Permanent if there is none of this number."""
    study = session.get(Study, study_id)
    if study is None:
        raise Permanent(f"study {study_id} does not exist: `dicom-node status` lists those that do")
    return study


def study_status(session: Session, study: Study) -> StudyStatus:
    """Where one study is."""
    counted = select(func.count(col(Instance.id))).join(Series).where(Series.study_id == study.id)
    job = current_job(session, study.id or 0)
    where, why = _where(session, study, job)
    count = session.exec(counted).one()
    return StudyStatus(study.id or 0, study.study_instance_uid, study.last_received_at, count, where, why)


def current_job(session: Session, study_id: int) -> Job | None:
    """The job that says where a study is: the newest that was not skipped for lack of anything new.

    Before it comes one of a withdrawn draft whose withdrawal somebody could not be told of.
    """
    jobs = session.exec(select(Job).where(Job.study_id == study_id).order_by(col(Job.revision).desc())).all()
    withdrawn = set(session.exec(select(Report.job_id).join(Job).where(Job.study_id == study_id, _IS_WITHDRAWN)))
    untold = (job for job in jobs if job.state == JobState.FAILED and job.id in withdrawn)
    return next(untold, next((job for job in jobs if not job.reason.startswith(UNCHANGED)), None))


def timeline(session: Session, study: Study) -> list[Moment]:
    """Everything that happened to a study, oldest first."""
    # Their ids, not the queries for them: with those PostgreSQL would look through the moves of all studies.
    jobs = session.exec(select(Job.id).where(Job.study_id == study.id)).all()
    deliveries = session.exec(select(Delivery.id).join(Report).join(Job).where(Job.study_id == study.id)).all()
    about = or_(
        (col(Transition.row_kind) == "study") & (col(Transition.row_id) == study.id),
        (col(Transition.row_kind) == "job") & col(Transition.row_id).in_(jobs),
        (col(Transition.row_kind) == "delivery") & col(Transition.row_id).in_(deliveries),
    )
    moves = session.exec(select(Transition).where(about).order_by(col(Transition.id))).all()
    return [Moment(move.at, _words(move)) for move in moves]


def _words(move: Transition) -> str:
    step = f"{move.old} → {move.new}" if move.old not in ("", move.new) else move.new
    return f"{move.row_kind} {move.row_id}: {step}" + (f" ({move.reason})" if move.reason else "")


def _where(session: Session, study: Study, job: Job | None) -> tuple[str, str]:
    if study.state == StudyState.RECEIVING and (job is None or job.state not in ACTIVE_JOB_STATES):
        return str(study.state), "images may still come"
    if job is None:
        return str(study.state), "nothing of it is to be drafted"
    where, why = _where_job(session, job)
    report = session.exec(select(Report).where(Report.job_id == job.id)).first()
    if report is None:
        return where, why
    if report.withdrawn_at is not None:
        why = f"withdrawn ({report.withdrawal_reason}): {why}"
    return where, remark(why, flags_from_json(report.flags), is_synthetic=report.model_is_synthetic)


def _where_job(session: Session, job: Job) -> tuple[str, str]:
    why = _why(session, job)
    return (SEEN, f"{why} (seen by {job.seen_by})") if is_seen(session, job) else (job.state, why)


def _why(session: Session, job: Job) -> str:
    if job.state == JobState.REPORTED:
        return _deliveries(session, job)
    stands = job.reason in (CLOSED, SUPERSEDED, WITHDRAWN) or job.reason.endswith(KEPT_HERE)
    return job.reason if stands else _JOB_WORDS.get(JobState(job.state), job.reason)


def _deliveries(session: Session, job: Job) -> str:
    rows = session.exec(select(Delivery).join(Report).where(Report.job_id == job.id).order_by(col(Delivery.id))).all()
    return "; ".join(f"{row.name} {row.state}{_because(row)}" for row in rows)


def _because(delivery: Delivery) -> str:
    if delivery.state == DeliveryState.DELIVERED and delivery.wants_commitment:
        return " (not committed yet)"
    waits = delivery.state == DeliveryState.PENDING and delivery.attempts > 0
    return f" ({delivery.reason})" if waits else ""
