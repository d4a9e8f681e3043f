"""What the facts of a message change: orders, final reports, merged patients, and the studies they concern."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.deliveries import cancel_pending, reports_of
from dicom_node.lifecycle import note
from dicom_node.models import FinalReport, Job, PatientMerge, Study
from dicom_node.orders import finals_of, is_about, is_patients
from dicom_node.patients import (
    Identifier,
    agree,
    all_identifiers,
    identifiers_from_json,
    identifiers_to_json,
    is_same_person,
    patient_of,
)
from dicom_node.states import ACTIVE_JOB_STATES, CLOSED
from integration.order_book import OrderBook
from integration.order_message import OrderFacts
from integration.patient_message import MergeFacts, UpdateFacts
from integration.report_message import FinalFacts

# The PACS corrects images and reports together (IHE PIR).
_AS_THE_IMAGE = "the report names it as the image does"
_OF_ANOTHER = (
    "a final report of the RIS is of this study or accession number, but of another patient: it closes nothing"
)

_log = logs.get("hl7")


@dataclass(frozen=True)
class Source:
    """The message that the facts are of, and the orders of its group."""

    message_id: int
    now: datetime
    orders: OrderBook


def work_in(session: Session, facts: Iterable[object], source: Source) -> None:
    """Change what the facts change, in their order."""
    for each in facts:
        _WORK[type(each)](session, each, source)


def _work_in_order(_: Session, facts: OrderFacts, source: Source) -> None:
    source.orders.keep(facts, message_id=source.message_id, now=source.now)


def _work_in_final(session: Session, facts: FinalFacts, source: Source) -> None:
    """Keep the report and close its case. What it does not say of its order, the order says, if it is the patient's."""
    order = source.orders.find(facts)
    said = {name: value for name, value in vars(facts).items() if name != "patient"}
    if order is not None and is_same_person(session, facts.patient, identifiers_from_json(order.patient_identifiers)):
        said["accession_number"] = facts.accession_number or order.accession_number
        said["study_instance_uid"] = facts.study_instance_uid or order.study_instance_uid
    report = FinalReport(
        message_id=source.message_id,
        patient_identifiers=identifiers_to_json(facts.patient),
        created_at=source.now,
        **said,
    )
    session.add(report)
    about = is_about(Study, report.study_instance_uid, report.accession_number)
    for study in session.exec(select(Study).where(about)).all():
        if report in finals_of(session, study):
            _close(session, study, source.now)
        elif study.patient_id and not is_patients(session, study, report):
            _tell(session, study, source.now, _OF_ANOTHER)


def _close(session: Session, study: Study, now: datetime) -> None:
    """What was not sent yet is not sent any more; what is being drafted or sent looks for itself."""
    _tell(session, study, now, CLOSED)
    cancel_pending(session, reports_of(session, study), now, CLOSED)


def _work_in_update(session: Session, facts: UpdateFacts, source: Source) -> None:
    """Said of what is not sent yet."""
    active = select(Job.study_id).where(col(Job.state).in_(ACTIVE_JOB_STATES))
    known = all_identifiers(session, facts.patient)
    for study in _studies_of(session, known, col(Study.id).in_(active)):
        _tell(session, study, source.now, f"ADT^{facts.event}: the patient's data has changed; {_AS_THE_IMAGE}")


def _work_in_merge(session: Session, facts: MergeFacts, source: Source) -> None:
    """Said of all studies, also of those whose case is closed: it tells why the RIS names them otherwise."""
    gone, staying = (all_identifiers(session, each) for each in (facts.prior, facts.surviving))
    for prior, surviving in _merged(facts):
        merge = PatientMerge(
            message_id=source.message_id,
            prior_id=prior.id_number,
            surviving_id=surviving.id_number,
            identifiers=identifiers_to_json((prior, surviving)),
            created_at=source.now,
        )
        session.add(merge)
    if agree(gone, staying):  # they were one person already
        return
    for known, words in ((gone, "its patient into another"), (staying, "another patient into its own")):
        for study in _studies_of(session, known):
            _tell(session, study, source.now, f"ADT^{facts.event}: the RIS merged {words}; {_AS_THE_IMAGE}")


def _merged(facts: MergeFacts) -> Sequence[tuple[Identifier, Identifier]]:
    """Each prior identifier with those that survive of its authority; where none do, with all.

    Beside its number a patient may have one that many share, such as a placeholder: that must not join all who have it.
    """
    pairs = list(product(facts.prior, facts.surviving))
    return [(prior, surviving) for prior, surviving in pairs if prior.is_of_the_authority_of(surviving)] or pairs


def _tell(session: Session, study: Study, now: datetime, words: str) -> None:
    note(session, study, now, words)
    _log.info("message_concerns_study", study=study.id, reason=words)


def _studies_of(session: Session, known: Sequence[Identifier], *conditions: ColumnElement[bool]) -> list[Study]:
    named = col(Study.patient_id).in_({each.id_number for each in known})
    studies = session.exec(select(Study).where(named, *conditions).order_by(col(Study.id))).all()
    return [study for study in studies if agree(patient_of(study), known)]


_WORK: Mapping[type[object], Callable[[Session, Any, Source], None]] = {
    OrderFacts: _work_in_order,
    FinalFacts: _work_in_final,
    UpdateFacts: _work_in_update,
    MergeFacts: _work_in_merge,
}
