"""What a report says, as one value. Encoders take this and nothing else, so no encoder can mix two patients."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy import func
from sqlmodel import Session, col, select

from dicom_node.config import Settings
from dicom_node.errors import InvalidHeader, InvalidOutput
from dicom_node.flags import flags_from_json
from dicom_node.models import Instance, Job, Order, Report, Series, Study
from dicom_node.orders import order_of, require_open_case
from dicom_node.product import SYNTHETIC
from dicom_node.storage import InstanceStore
from integration.escape import unescape

_SYNTHETIC_OPENING = f"{SYNTHETIC}: nothing below is about the patient."


@dataclass(frozen=True)
class ModelIdentity:
    """Which model wrote the draft. The digest changes with weights, prompt and settings."""

    name: str
    version: str
    digest: str  # 64 hex digits
    is_synthetic: bool  # for tests alone: it has learned from no patient's image


@dataclass(frozen=True)
class OrderNumbers:
    """What the HL7 order says of the request, for images that do not; empty where nobody does."""

    placer: tuple[str, ...] = ()  # EI: identifier, namespace, universal ID, its type
    filler: tuple[str, ...] = ()  # EI
    accession: str = ""
    requested_procedure_id: str = ""
    scheduled_step_id: str = ""


@dataclass(frozen=True)
class ReportDocument:
    """One draft, ready to be encoded.

    evidence: the header of the drafted image as it was received, without Pixel Data. Patient and study are taken from
    it and from nowhere else.
    """

    evidence: Dataset
    findings: str
    flags: tuple[str, ...]  # sentences: what a reader should be warned of
    indication: str  # the reason for the exam that the model was given; empty if none
    disclaimer: str
    revision: int  # 1, 2, … per study
    drafted_at: datetime  # aware
    time_zone: ZoneInfo  # of the site: dates and times in reports are local
    model: ModelIdentity
    node_name: str  # AE title of this node
    sending_application: str  # MSH-3
    sending_facility: str  # MSH-4
    processing_id: str  # MSH-11
    order: OrderNumbers = OrderNumbers()

    @property
    def opening(self) -> str:
        """What every report says before the draft."""
        return f"{_SYNTHETIC_OPENING}\n{self.disclaimer}" if self.model.is_synthetic else self.disclaimer


def load_document(session: Session, store: InstanceStore, settings: Settings, report_id: int) -> ReportDocument:
    """Read one draft, the header of its image and the order that it answers.

    Raises InvalidHeader when the file cannot be read, OrderConflict when the order is another patient's.
    """
    report = session.get_one(Report, report_id)
    job = session.get_one(Job, report.job_id)
    instance = session.get_one(Instance, report.instance_id)
    return ReportDocument(
        evidence=_read_evidence(store.open(instance.path), instance),
        findings=report.findings,
        flags=tuple(flag.sentence for flag in flags_from_json(report.flags)),
        indication=report.indication,
        disclaimer=settings.disclaimer,
        revision=job.revision,
        drafted_at=report.created_at,
        time_zone=ZoneInfo(settings.time_zone),
        model=_model(report),
        node_name=settings.ae_title,
        sending_application=settings.sending_application,
        sending_facility=settings.sending_facility,
        processing_id=settings.processing_id,
        order=_numbers(order_of(session, session.get_one(Study, job.study_id))),
    )


def _numbers(order: Order | None) -> OrderNumbers:
    if order is None:
        return OrderNumbers()
    return OrderNumbers(
        placer=_entity(order.placer_order_number),
        filler=_entity(order.filler_order_number),
        accession=order.accession_number,
        requested_procedure_id=order.requested_procedure_id,
        scheduled_step_id=order.scheduled_step_id,
    )


def _entity(number: str) -> tuple[str, ...]:
    """number: EI as HL7 writes it."""
    return tuple(map(unescape, number.split("^"))) if number else ()


def require_same_case(session: Session, report_id: int) -> None:
    """Raise CaseClosed or OrderConflict if, since the draft, the RIS has told what forbids to send it."""
    report = session.get_one(Report, report_id)
    study = session.get_one(Study, session.get_one(Job, report.job_id).study_id)
    require_open_case(session, study)
    order_of(session, study)


def _model(report: Report) -> ModelIdentity:
    return ModelIdentity(
        report.model_name, report.model_version, report.model_digest, is_synthetic=report.model_is_synthetic
    )


def require_one_patient(session: Session, report_id: int) -> None:
    """Raise InvalidOutput if, since the draft, its study got another patient's objects or its image other content.

    The last look before bytes leave: what came late may contradict what was drafted.
    """
    report = session.get_one(Report, report_id)
    job = session.get_one(Job, report.job_id)
    drafted = session.get_one(Instance, report.instance_id)
    of_study = select(func.count(func.distinct(Instance.patient_key))).join(Series)
    if session.exec(of_study.where(Series.study_id == job.study_id)).one() > 1:
        raise InvalidOutput(f"study {job.study_id}: its objects name different patients")
    versions = select(func.count(col(Instance.id))).where(Instance.sop_instance_uid == drafted.sop_instance_uid)
    if session.exec(versions).one() > 1:
        raise InvalidOutput(f"study {job.study_id}: the drafted image came again with other content")


def _read_evidence(path: Path, instance: Instance) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise InvalidHeader(f"instance {instance.id}: its file cannot be read") from error
