"""All that the page shows of one study, read from its rows at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlmodel import Session, col, select

from dicom_node.attention import maps_from_png
from dicom_node.deliveries import reports_of
from dicom_node.failures import SEEN, failures_of, needs_person, word_for_failures
from dicom_node.flags import Flag, flags_from_json
from dicom_node.models import Delivery, Instance, Job, Report, Series, Study, Transition
from dicom_node.operator import resendable
from dicom_node.orders import is_closed
from dicom_node.sentences import find_sentences
from dicom_node.states import CLOSED, DeliveryState, JobState
from dicom_node.timeline import Moment, StudyStatus, current_job, study_status, timeline
from dicom_node.web.marked import Piece, mark_flagged
from dicom_node.web.signed import Signed, read_signed
from dicom_node.web.stages import Course, Stage, stages_of
from dicom_node.withdrawal import standing_of

_TWO_PATIENTS = "The images of this study name more than one patient."


@dataclass(frozen=True)
class Draft:
    """One draft, as it is shown."""

    report: Report
    revision: int
    pieces: Sequence[Piece]  # its words
    flags: Sequence[Flag]
    attended: Sequence[str]  # the sentences that have a map of where the model looked
    deliveries: Sequence[Delivery]


@dataclass(frozen=True)
class StudyView:
    """One study."""

    study: Study
    status: StudyStatus
    stages: Sequence[Stage]
    drafts: Sequence[Draft]  # newest first
    signed: Signed | None
    moments: Sequence[Moment]
    film: Instance | None  # what was drafted, or what can be looked at
    notices: Sequence[str]
    resendable: frozenset[int]  # the deliveries of the newest draft that may be sent again
    failures: str  # the word for what failed, as it is shown
    may_retry: bool
    may_acknowledge: bool
    may_withdraw: bool


def view_study(session: Session, study: Study) -> StudyView:
    instances, job, reports = (
        instances_of(session, study),
        current_job(session, study.id or 0),
        reports_of(session, study),
    )
    drafts, film = [_draft(session, report) for report in reversed(reports)], _film(instances, reports)
    status = study_status(session, study)
    failed = select(Job.id).where(Job.study_id == study.id, needs_person(Job))  # also of an older revision
    return StudyView(
        study,
        status,
        stages_of(_course(session, study, instances, job)),
        drafts,
        read_signed(session, study),
        timeline(session, study),
        film,
        [*_of_other_film(film, reports), *_notices(session, study, instances)],
        _resendable(session, study),
        word_for_failures(failures_of(session, study.id or 0)),
        may_retry=status.where in (JobState.FAILED, SEEN, JobState.SKIPPED),
        may_acknowledge=session.exec(failed).first() is not None,
        may_withdraw=not standing_of(session, study).is_empty,
    )


def instances_of(session: Session, study: Study) -> Sequence[Instance]:
    """Oldest first."""
    ours = select(Instance).join(Series).where(Series.study_id == study.id)
    return session.exec(ours.order_by(col(Instance.id))).all()


def _resendable(session: Session, study: Study) -> frozenset[int]:
    """Without what waits for its first attempt."""
    found = resendable(session, study)
    return frozenset(each.id or 0 for each in found if each.state != DeliveryState.PENDING or each.attempts)


def _draft(session: Session, report: Report) -> Draft:
    flags = flags_from_json(report.flags)
    is_film_here = session.get_one(Instance, report.instance_id).removed_at is None
    deliveries = session.exec(select(Delivery).where(Delivery.report_id == report.id).order_by(col(Delivery.id))).all()
    return Draft(
        report=report,
        revision=session.get_one(Job, report.job_id).revision,
        pieces=mark_flagged(report.findings, flags),
        flags=flags,
        attended=_attended(report) if is_film_here else (),
        deliveries=deliveries,
    )


def _attended(report: Report) -> Sequence[str]:
    """Empty where it is not known whose map is whose: the rules of sentences have changed since."""
    if report.attention is None:
        return ()
    sentences = find_sentences(report.findings)
    if len(maps_from_png(report.attention)) != len(sentences):
        return ()
    return [" ".join(report.findings[start:end].split()) for start, end in sentences]


def _course(session: Session, study: Study, instances: Sequence[Instance], job: Job | None) -> Course:
    report = session.exec(select(Report).where(Report.job_id == job.id)).first() if job else None
    ours = select(Delivery).where(Delivery.report_id == (report.id if report else None)).order_by(col(Delivery.id))
    deliveries = session.exec(ours).all()
    of_study = (col(Transition.row_kind) == "study") & (col(Transition.row_id) == study.id)
    ids = [cast(int, each.id) for each in deliveries]
    of_deliveries = (col(Transition.row_kind) == "delivery") & col(Transition.row_id).in_(ids)
    moves = session.exec(select(Transition).where(of_study | of_deliveries).order_by(col(Transition.id))).all()
    return Course(study, instances, job, report, deliveries, moves)


def _film(instances: Sequence[Instance], reports: Sequence[Report]) -> Instance | None:
    here = [each for each in instances if each.removed_at is None]
    drafted = (each for each in here if reports and each.id == reports[-1].instance_id)
    return next(drafted, next((each for each in here if each.has_pixels), None))


def _of_other_film(film: Instance | None, reports: Sequence[Report]) -> list[str]:
    """A notice where the film that is shown is not the one that was drafted last."""
    if film is None or not reports or film.id == reports[-1].instance_id:
        return []
    drafted = reports[-1].instance_id
    return [f"The film shown is object {film.id}. The newest draft is of object {drafted}, which is not here any more."]


def _notices(session: Session, study: Study, instances: Sequence[Instance]) -> list[str]:
    patients = {each.patient_key for each in instances}  # one without an ID counts, as it does for the worker
    said = [_TWO_PATIENTS] if len(patients) > 1 else []
    if study.images_removed_at is not None:
        said.append(f"The images were removed on {study.images_removed_at:%Y-%m-%d}: the timeline says why.")
    return [*said, f"{CLOSED[0].upper()}{CLOSED[1:]}."] if is_closed(session, study) else said
