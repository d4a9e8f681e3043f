"""The last look before bytes leave: what came since the draft may forbid to send it."""

from sqlalchemy import func
from sqlmodel import Session, col, exists, select

from dicom_node.deliveries import came_again, may_have_arrived
from dicom_node.errors import CaseClosed, InvalidOutput, NothingToTell
from dicom_node.models import Delivery, Instance, Job, Report, Series, Study
from dicom_node.orders import is_closed, order_of, require_open_case
from dicom_node.states import NOT_TOLD_FINAL, SUPERSEDED, WITHDRAWN, DeliveryKind
from integration.history import oru_sent


def require_wanted(session: Session, delivery: Delivery) -> None:
    """Raise what forbids to send a draft or its cancelling now. A rejection note names its objects: it may always go.

    CaseClosed: nobody wants it any more. NothingToTell: it was withdrawn before it was sent.
    OrderConflict, InvalidOutput: it may be another patient's.
    """
    if delivery.kind == DeliveryKind.REJECTION:
        return
    report = session.get_one(Report, delivery.report_id)
    job = session.get_one(Job, report.job_id)
    study = session.get_one(Study, job.study_id)
    if delivery.kind == DeliveryKind.CANCELLATION:
        _require_in_sight(session, delivery, job, study)
        return
    _require_standing_draft(session, report, job)
    _require_one_patient(session, report, job)
    require_open_case(session, study)
    order_of(session, study)


def _require_in_sight(session: Session, cancellation: Delivery, job: Job, study: Study) -> None:
    """The draft is what the RIS shows. It has the order's numbers, which what came later has, too."""
    if oru_sent(session, cancellation) is None:
        raise NothingToTell(f"{cancellation.destination} was not sent the draft")
    if is_closed(session, study):
        raise CaseClosed(f"{cancellation.destination} {NOT_TOLD_FINAL}")
    newer = (
        select(Delivery)
        .join(Report)
        .join(Job)
        .where(Job.study_id == job.study_id, Job.revision > job.revision, col(Report.withdrawn_at).is_(None))
        .where(Delivery.destination == cancellation.destination)
    )
    if any(map(may_have_arrived, session.exec(newer))):
        raise CaseClosed(SUPERSEDED)


def _require_standing_draft(session: Session, report: Report, job: Job) -> None:
    if report.withdrawn_at is not None:
        raise CaseClosed(WITHDRAWN)
    newer = select(Report.id).join(Job).where(Job.study_id == job.study_id, Job.revision > job.revision)
    if session.exec(select(exists(newer))).one():
        raise CaseClosed(SUPERSEDED)


def _require_one_patient(session: Session, report: Report, job: Job) -> None:
    """All objects of the study name one patient, and the drafted image did not come again with other content."""
    of_study = select(func.count(func.distinct(Instance.patient_key))).join(Series)
    if session.exec(of_study.where(Series.study_id == job.study_id)).one() > 1:
        raise InvalidOutput(f"study {job.study_id}: its objects name different patients")
    if came_again(session, report):
        raise InvalidOutput(f"study {job.study_id}: the drafted image came again with other content")
