"""What a report says, as one value. Encoders take this and nothing else, so no encoder can mix two patients."""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlmodel import Session, select

from dicom_node.config import Settings
from dicom_node.errors import InvalidHeader
from dicom_node.flags import flags_from_json
from dicom_node.labels import Labels, labels_from_json
from dicom_node.models import Delivery, Instance, Job, Report, Study
from dicom_node.orders import order_of
from dicom_node.peers import SrClass
from dicom_node.product import opening
from dicom_node.states import MESSAGES, WITHDRAWALS, DeliveryKind
from dicom_node.storage import InstanceStore
from integration.history import SentObject, earlier_delivery, objects_at_destination, oru_sent, rows_sent, sr_of
from integration.order_numbers import NO_ORDER, OrderNumbers, numbers_in, numbers_of


@dataclass(frozen=True)
class ModelIdentity:
    """Which model wrote the draft. The digest changes with weights, prompt and settings."""

    name: str
    version: str
    digest: str  # 64 hex digits
    is_synthetic: bool  # for tests alone: it has learned from no patient's image


@dataclass(frozen=True)
class Predecessor:
    """The draft of the study that this one takes the place of: an image has come since."""

    revision: int
    drafted_at: datetime  # aware
    sop_class_uid: str  # of its SR, as the destination has it
    sop_instance_uid: str
    series_instance_uid: str


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
    order: OrderNumbers = NO_ORDER
    labels: Labels | None = None  # None: no labeller has read the draft
    predecessor: Predecessor | None = None
    withdrawn_at: datetime | None = None  # aware; None: it stands
    rows_sent: int = 0  # of text that a RIS may have of the study by now; for others 0
    sent: tuple[SentObject, ...] = ()  # what a rejection note names; for others empty
    sr_class: SrClass = "basic"  # of the SR that is named to others: the first PACS's
    has_sr: bool = True  # some PACS gets one: otherwise it is named to nobody
    image: Path = Path()  # the drafted image as it was received, for whoever shows its pixels; of a withdrawal none
    attention: bytes | None = None  # PNG of `attention.maps_to_png`, a map for each sentence of the findings

    @property
    def opening(self) -> str:
        """What every report says before the draft."""
        return opening(self.disclaimer, is_synthetic=self.model.is_synthetic)


def load_document(session: Session, store: InstanceStore, settings: Settings, delivery: Delivery) -> ReportDocument:
    """Read the draft of a delivery, the header of its image, the order that it answers and what its destination has.

    Raises InvalidHeader when the file cannot be read, OrderConflict when the order is another patient's.
    """
    report = session.get_one(Report, delivery.report_id)
    job = session.get_one(Job, report.job_id)
    instance = session.get_one(Instance, report.instance_id)
    return ReportDocument(
        evidence=_read_evidence(store, instance),
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
        order=_order(session, session.get_one(Study, job.study_id), delivery),
        labels=labels_from_json(report.labels),
        predecessor=_predecessor(session, delivery),
        withdrawn_at=report.withdrawn_at,
        rows_sent=rows_sent(session, delivery) if delivery.kind in MESSAGES else 0,
        sent=objects_at_destination(session, delivery) if delivery.kind == DeliveryKind.REJECTION else (),
        sr_class=settings.sr_class,
        has_sr=_has_sr(session, report),
        image=Path() if delivery.kind in WITHDRAWALS else store.open(instance.path),
        attention=report.attention,
    )


def _has_sr(session: Session, report: Report) -> bool:
    srs = select(Delivery.id).where(Delivery.report_id == report.id, Delivery.kind == DeliveryKind.SR)
    return session.exec(srs).first() is not None


def _predecessor(session: Session, delivery: Delivery) -> Predecessor | None:
    """The draft in the place of which this destination gets the delivery's. Its SR is empty where no PACS took one."""
    earlier = earlier_delivery(session, delivery)
    if earlier is None:
        return None
    report = session.get_one(Report, earlier.report_id)
    sr = sr_of(session, earlier)
    return Predecessor(
        revision=session.get_one(Job, report.job_id).revision,
        drafted_at=report.created_at,
        sop_class_uid=sr.sop_class_uid if sr else "",
        sop_instance_uid=sr.sop_instance_uid if sr else "",
        series_instance_uid=sr.series_instance_uid if sr else "",
    )


def _order(session: Session, study: Study, delivery: Delivery) -> OrderNumbers:
    """A withdrawal names the order as the draft did, whatever orders have come since."""
    if delivery.kind in WITHDRAWALS:
        oru = oru_sent(session, delivery)
        return NO_ORDER if oru is None else numbers_in(oru)
    order = order_of(session, study)
    return NO_ORDER if order is None else numbers_of(order, study.study_instance_uid)


def _model(report: Report) -> ModelIdentity:
    return ModelIdentity(
        report.model_name, report.model_version, report.model_digest, is_synthetic=report.model_is_synthetic
    )


def _read_evidence(store: InstanceStore, instance: Instance) -> Dataset:
    """The image's header, from what was kept of it where the image was removed."""
    part10 = store.open(instance.path) if instance.header is None else BytesIO(instance.header)
    try:
        return dcmread(part10, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise InvalidHeader(f"instance {instance.id}: its file cannot be read") from error
