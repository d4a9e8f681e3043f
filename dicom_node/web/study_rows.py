"""The rows that an address names, and that they belong together. Whoever sees one is in the audit trail."""

from typing import TypeVar

from sqlmodel import Session, SQLModel
from starlette.convertors import IntegerConvertor

from dicom_node.models import Delivery, Instance, Job, Report, Series, Study
from dicom_node.web.door import Visitor
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused

_LARGEST_ID = 2**31 - 1  # of PostgreSQL's integer
Row = TypeVar("Row", bound=SQLModel)


class RowNumber(IntegerConvertor):
    """`:row` in the address of a route. Python reads no number of more than 4,300 digits."""

    regex = "[0-9]{1,20}"


def visit_study(
    page: Page,
    session: Session,
    visitor: Visitor,
    study_id: int,
    *,
    is_change: bool = False,
    is_to_audit: bool = True,
) -> Study:
    """The study, when the audit trail knows who looks at it. Raises PageRefused where there is none.

    is_to_audit: or it was told a short while ago.
    """
    study = _row(session, Study, study_id)
    if is_to_audit:
        page.trail.accessed(visitor.person, study.study_instance_uid, study.patient_id, is_change=is_change)
    return study


def report_of(session: Session, study: Study, report_id: int) -> Report:
    """Raises PageRefused where the study has no such draft."""
    report = _row(session, Report, report_id)
    _require_same(study, session.get_one(Job, report.job_id).study_id)
    return report


def delivery_of(session: Session, study: Study, delivery_id: int) -> Delivery:
    """Raises PageRefused where the study has no such delivery."""
    delivery = _row(session, Delivery, delivery_id)
    report_of(session, study, delivery.report_id)
    return delivery


def instance_of(session: Session, study: Study, instance_id: int) -> Instance:
    """Raises PageRefused where the study has no such object."""
    instance = _row(session, Instance, instance_id)
    _require_same(study, session.get_one(Series, instance.series_id).study_id)
    return instance


def _row(session: Session, kind: type[Row], number: int) -> Row:
    row = session.get(kind, number) if number <= _LARGEST_ID else None
    if row is None:
        raise _absent()
    return row


def _require_same(study: Study, study_id: int) -> None:
    if study.id != study_id:
        raise _absent()


def _absent() -> PageRefused:
    return PageRefused(404, "There is no such study here, or nothing of that number in it.")
