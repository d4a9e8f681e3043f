"""Which studies' images nobody needs any more: what was begun for them has ended well, and is quiet since long."""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, exists
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from dicom_node.errors import OrderConflict
from dicom_node.models import Commitment, Delivery, Instance, Job, Pull, Report, Series, Study, Transition
from dicom_node.orders import order_of
from dicom_node.states import CommitmentState, DeliveryState, JobState, PullState, StudyState

_AT_ONCE = 20
_ENDED = (JobState.DONE, JobState.SKIPPED, JobState.FAILED)
_OPEN_DELIVERIES = (DeliveryState.PENDING, DeliveryState.SENDING)
_OPEN_COMMITMENTS = (CommitmentState.PENDING, CommitmentState.SENDING)
_OPEN_PULLS = (PullState.PENDING, PullState.PULLING)


class Place(NamedTuple):
    """A study's place among all, the oldest first."""

    last_received_at: datetime
    study_id: int


START = Place(datetime.min.replace(tzinfo=UTC), 0)


def find_ended(session: Session, before: datetime, *, after: Place) -> list[Place]:
    """The next of the studies that have images and to which nothing has happened since; the oldest first."""
    of_at, of_id = col(Study.last_received_at), col(Study.id)
    is_next = (of_at >= after.last_received_at) & ((of_at > after.last_received_at) | (of_id > after.study_id))
    oldest = select(of_at, of_id).where(*_has_ended(before), is_next).order_by(of_at, of_id).limit(_AT_ONCE)
    return [Place(at, study_id) for at, study_id in session.exec(oldest) if study_id is not None]


def take_ended(session: Session, study_id: int, before: datetime) -> Study | None:
    """One of them, locked, if it still has ended and nobody waits for its images.

    A late image, and who wants another draft, has come first or waits.
    """
    study = session.exec(select(Study).where(Study.id == study_id).with_for_update()).one()
    session.exec(select(Job.id).where(Job.study_id == study_id).with_for_update()).all()
    is_still = session.exec(select(Study.id).where(Study.id == study_id, *_has_ended(before))).first() is not None
    return study if is_still and not _is_held(session, study) and not _is_to_commit(session, study) else None


def _has_ended(before: datetime) -> tuple[ColumnElement[bool], ...]:
    """Of a study. A failure stays until it is put right or a later draft delivered: images may be needed for that."""
    jobs, deliveries = select(Job.id).where(Job.study_id == Study.id), select(Delivery.id).join(Report).join(Job)
    open_delivery = col(Delivery.state).in_(_OPEN_DELIVERIES) | (
        (col(Delivery.state) == DeliveryState.DELIVERED) & col(Delivery.wants_commitment)
    )
    failed_job = (col(Job.state) == JobState.FAILED) & ~_has_later_draft()
    failed_delivery = (col(Delivery.state) == DeliveryState.FAILED) & ~_has_later_draft()
    moves = select(Transition.id).where(Transition.at >= before)
    job_moves = moves.where(Transition.row_kind == "job", Transition.row_id == Job.id)
    instances = select(Instance.id).join(Series).where(Series.study_id == Study.id)
    is_about = (col(Pull.prior_of) == Study.id) | (col(Pull.study_instance_uid) == Study.study_instance_uid)
    pulls = select(Pull.id).where(is_about)
    return (
        col(Study.state) == StudyState.COMPLETE,
        col(Study.images_removed_at).is_(None),
        col(Study.last_received_at) < before,
        ~exists(jobs.where(col(Job.state).not_in(_ENDED) | failed_job)),
        ~exists(deliveries.where(Job.study_id == Study.id, open_delivery | failed_delivery)),
        ~exists(moves.where(Transition.row_kind == "study", Transition.row_id == Study.id)),
        ~exists(jobs.where(exists(job_moves))),  # no join: SQLite would look through the moves of all jobs
        ~exists(pulls.where(col(Pull.state).in_(_OPEN_PULLS))),
        # Without it an object that comes again could not be known for the same.
        ~exists(instances.where(Instance.sha256 == "", col(Instance.removed_at).is_(None))),
    )


def _has_later_draft() -> ColumnElement[bool]:
    """Of a job: a later revision of its study has reached everybody."""
    later = aliased(Job)
    done = (later.study_id == Job.study_id, later.revision > Job.revision, later.state == JobState.DONE)
    return exists(select(later.id).where(*done))


def _is_held(session: Session, study: Study) -> bool:
    """An order names another patient: a person will want to see the film."""
    try:
        order_of(session, study)
    except OrderConflict:
        return True
    return False


def _is_to_commit(session: Session, study: Study) -> bool:
    """Somebody waits to hear that its objects are safe here."""
    waiting = select(Commitment.requested).where(col(Commitment.state).in_(_OPEN_COMMITMENTS))
    wanted = session.exec(waiting).all()
    if not wanted:
        return False
    ours = select(Instance.sop_instance_uid).join(Series).where(Series.study_id == study.id)
    return any(f'"{uid}"' in each for uid in session.exec(ours) for each in wanted)
