"""The last look before bytes leave: what came since the draft may forbid to send it."""

from sqlalchemy import func
from sqlmodel import Session, col, exists, select

from dicom_node.errors import CaseClosed, InvalidOutput
from dicom_node.models import Delivery, Instance, Job, Report, Series, Study
from dicom_node.orders import order_of, require_open_case
from dicom_node.states import SUPERSEDED, WITHDRAWALS, WITHDRAWN


def require_wanted(session: Session, delivery: Delivery) -> None:
    """Raise what forbids to send a draft now. A withdrawal may always be sent.

    CaseClosed: nobody wants it any more. OrderConflict, InvalidOutput: it may be another patient's.
    """
    if delivery.kind in WITHDRAWALS:
        return
    report = session.get_one(Report, delivery.report_id)
    job = session.get_one(Job, report.job_id)
    _require_standing_draft(session, report, job)
    _require_one_patient(session, report, job)
    study = session.get_one(Study, job.study_id)
    require_open_case(session, study)
    order_of(session, study)


def _require_standing_draft(session: Session, report: Report, job: Job) -> None:
    if report.withdrawn_at is not None:
        raise CaseClosed(WITHDRAWN)
    newer = select(Report.id).join(Job).where(Job.study_id == job.study_id, Job.revision > job.revision)
    if session.exec(select(exists(newer))).one():
        raise CaseClosed(SUPERSEDED)


def _require_one_patient(session: Session, report: Report, job: Job) -> None:
    """All objects of the study name one patient, and the drafted image did not come again with other content."""
    drafted = session.get_one(Instance, report.instance_id)
    of_study = select(func.count(func.distinct(Instance.patient_key))).join(Series)
    if session.exec(of_study.where(Series.study_id == job.study_id)).one() > 1:
        raise InvalidOutput(f"study {job.study_id}: its objects name different patients")
    versions = select(func.count(col(Instance.id))).where(Instance.sop_instance_uid == drafted.sop_instance_uid)
    if session.exec(versions).one() > 1:
        raise InvalidOutput(f"study {job.study_id}: the drafted image came again with other content")
