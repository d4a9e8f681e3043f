"""Orders meet images, whichever comes first, by accession number or study, *and* by patient.

What does not agree holds the result: it is looked at before a draft is made and again before anything is sent.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, false, func, or_
from sqlmodel import Session, col, select

from dicom_node.errors import CaseClosed, OrderConflict
from dicom_node.models import FinalReport, Order, Study
from dicom_node.patients import identifiers_from_json, is_same_person, patient_of
from dicom_node.states import CLOSED

ROUTINE = 5  # Job.priority of what nobody called urgent


def priority_of(session: Session, study: Study) -> int:
    """The priority of a study's job: that of its most urgent order, 0 being the most urgent."""
    urgent = select(func.min(Order.priority)).where(_is_of(Order, study), col(Order.is_cancelled).is_(False))
    found = session.exec(urgent).one()
    return ROUTINE if found is None else found


def hurried(planned: int, ordered: int) -> int:
    """The priority of what was planned with one and ordered with another: what somebody called urgent stays so."""
    return min(planned, ordered) if ordered < ROUTINE else planned


def order_of(session: Session, study: Study) -> Order | None:
    """The order that a study answers; None if there is none.

    Raises OrderConflict when an order of the very study, or all that have its accession number, are of other patients.
    One accession number alone may be two patients': of two sites that count alike.
    """
    orders = _orders(session, study)
    ours = [order for order in orders if is_patients(session, study, order)]
    by_study = [order for order in orders if order.study_instance_uid == study.study_instance_uid]
    by_accession = [order for order in orders if order.accession_number == study.accession_number != ""]
    if any(order not in ours for order in by_study) or (by_accession and not any(o in ours for o in by_accession)):
        raise OrderConflict(f"study {study.id}: held, its images and its order name different patients")
    return next((order for order in ours if not _names_another(session, study, order)), None)


def finals_of(session: Session, study: Study) -> list[FinalReport]:
    """What the RIS has told as final or corrected of this study and patient, oldest first."""
    finals = session.exec(select(FinalReport).where(_is_of(FinalReport, study)).order_by(col(FinalReport.id))).all()
    ours = [final for final in finals if is_patients(session, study, final)]
    return [final for final in ours if not _names_another(session, study, final)]


def is_closed(session: Session, study: Study) -> bool:
    """Whether the RIS has told the final report of this study and patient."""
    return bool(finals_of(session, study))


def require_open_case(session: Session, study: Study) -> None:
    """Raise CaseClosed when the RIS has told the final report of this study and patient."""
    if is_closed(session, study):
        raise CaseClosed(CLOSED)


def is_about(
    kind: type[Order] | type[FinalReport] | type[Study], study_instance_uid: str, accession_number: str
) -> ColumnElement[bool]:
    """Rows that name the study or have the accession number; what is empty names nothing."""
    values = {"study_instance_uid": study_instance_uid, "accession_number": accession_number}
    return or_(false(), *(getattr(kind, name) == value for name, value in values.items() if value))


def _orders(session: Session, study: Study) -> Sequence[Order]:
    """Those of the very study first, then the newest; cancelled ones say nothing."""
    found = select(Order).where(_is_of(Order, study), col(Order.is_cancelled).is_(False))
    by_study = col(Order.study_instance_uid) == study.study_instance_uid
    return session.exec(found.order_by(by_study.desc(), col(Order.id).desc())).all()


def _names_another(session: Session, study: Study, told: Order | FinalReport) -> bool:
    """Whether it is of another study that is here: of one accession number there may be several procedures."""
    named = told.study_instance_uid
    if named in ("", study.study_instance_uid):
        return False
    return session.exec(select(Study.id).where(Study.study_instance_uid == named)).first() is not None


def _is_of(kind: type[Order] | type[FinalReport], study: Study) -> ColumnElement[bool]:
    return is_about(kind, study.study_instance_uid, study.accession_number)


def is_patients(session: Session, study: Study, told: Order | FinalReport) -> bool:
    """Whether the study's patient is one of those that the RIS names; no, where the study's is not known."""
    return is_same_person(session, patient_of(study), identifiers_from_json(told.patient_identifiers))
