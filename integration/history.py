"""What a destination was sent of a study before: which draft a new one replaces, and what a withdrawal names."""

from dataclasses import dataclass
from io import BytesIO
from typing import cast

from pydicom import dcmread
from sqlmodel import Session, col, select

from dicom_node.deliveries import may_have_arrived, was_taken
from dicom_node.models import Delivery, Job, Report
from dicom_node.states import DeliveryKind


@dataclass(frozen=True)
class SentObject:
    """A DICOM object of ours that a destination has, or may have."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


def earlier_delivery(session: Session, delivery: Delivery) -> Delivery | None:
    """The newest of an earlier draft of the study that its destination took in the same kind, and that still stands."""
    job = session.get_one(Job, session.get_one(Report, delivery.report_id).job_id)
    taken = (
        select(Delivery)
        .join(Report)
        .join(Job)
        .where(Job.study_id == job.study_id, Job.revision < job.revision, col(Report.withdrawn_at).is_(None))
        .where(Delivery.destination == delivery.destination, Delivery.kind == delivery.kind)
        .where(was_taken())
    )
    return session.exec(taken.order_by(col(Job.revision).desc())).first()


def sr_of(session: Session, delivery: Delivery) -> SentObject | None:
    """The SR of the same draft: the delivery itself, else the first that a PACS took."""
    srs = select(Delivery).where(Delivery.report_id == delivery.report_id, Delivery.kind == DeliveryKind.SR)
    its_own_first = (col(Delivery.id) == delivery.id).desc()
    taken = srs.where(was_taken()).order_by(its_own_first, col(Delivery.id))
    found = session.exec(taken).first()
    return None if found is None else read_sent(found)


def objects_at_destination(session: Session, delivery: Delivery) -> tuple[SentObject, ...]:
    """What the destination of this delivery has, or may have, of its draft."""
    ours = select(Delivery).where(Delivery.report_id == delivery.report_id)
    same = session.exec(ours.where(Delivery.destination == delivery.destination).order_by(col(Delivery.id)))
    return tuple(read_sent(each) for each in same if each.payload is not None and may_have_arrived(each))


def read_sent(delivery: Delivery) -> SentObject:
    """From the very bytes that were sent. Of a delivery whose payload is stored."""
    sent = dcmread(BytesIO(cast(bytes, delivery.payload)), specific_tags=["SeriesInstanceUID"], stop_before_pixels=True)
    meta = sent.file_meta
    return SentObject(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, sent.SeriesInstanceUID)


def oru_sent(session: Session, delivery: Delivery) -> bytes | None:
    """The message that told, or may have told, the destination of this delivery the same draft."""
    same = (Delivery.report_id == delivery.report_id, Delivery.destination == delivery.destination)
    return session.exec(select(Delivery.payload).where(*same, Delivery.kind == DeliveryKind.ORU)).first()


def rows_sent(session: Session, delivery: Delivery) -> int:
    """How many rows of text its destination may have of messages about the study, of this draft or earlier ones."""
    job = session.get_one(Job, session.get_one(Report, delivery.report_id).job_id)
    messages = select(Delivery).join(Report).join(Job).where(Job.study_id == job.study_id, Job.revision <= job.revision)
    same = messages.where(Delivery.destination == delivery.destination, Delivery.kind == DeliveryKind.ORU)
    arrived = filter(may_have_arrived, session.exec(same))
    return max((text_rows(each.payload) for each in arrived if each.payload is not None), default=0)


def text_rows(oru: bytes) -> int:
    """The highest OBX-4 of a message's rows of text: by it, and OBX-3, a receiver finds a row again."""
    rows = (segment.split(b"|") for segment in oru.split(b"\r") if segment.startswith(b"OBX|"))
    return max((int(row[4]) for row in rows if row[2] != b"ST"), default=0)
