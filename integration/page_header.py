"""The header of what is made for eyes: patient and study as in the image, everything else says "draft, by a device"."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from dicom_node.product import SYNTHETIC
from dicom_node.states import DeliveryKind
from dicom_node.uids import derive_uid
from integration.document import ReportDocument
from integration.source_header import SourceHeader
from integration.sr_element import code_item, put
from integration.sr_header import (
    RESEARCH,
    describe_equipment,
    describe_patient_and_study,
    drafted_locally,
    image_reference,
)
from integration.sr_identity import draft_key, node_device_uid

CHEST = "CHEST"  # (0018,0015), PS3.16 Annex L: selection has vouched for it


@dataclass(frozen=True)
class PageKind:
    """In what the objects for eyes differ."""

    kind: DeliveryKind
    sop_class_uid: UID
    modality: str
    series_number: str
    series_description: str


PDF = PageKind(DeliveryKind.PDF, EncapsulatedPDFStorage, "DOC", "9903", "AI DRAFT CXR PDF (not reviewed)")
CAPTURE = PageKind(DeliveryKind.PAGE, SecondaryCaptureImageStorage, "OT", "9904", "AI DRAFT CXR page (not reviewed)")
PRESENTATION = PageKind(
    DeliveryKind.GSPS,
    GrayscaleSoftcopyPresentationStateStorage,
    "PR",
    "9905",
    "AI DRAFT CXR overlay (not reviewed)",
)


def sop_instance_uid(document: ReportDocument, page: PageKind) -> UID:
    """One per draft and kind."""
    return derive_uid(page.kind, *draft_key(document))


def series_instance_uid(document: ReportDocument, page: PageKind) -> UID:
    """One per study and kind; the objects of a synthetic model lie in another."""
    study = SourceHeader.of(document.evidence).require("StudyInstanceUID")
    return derive_uid(study, page.kind, "synthetic" if document.model.is_synthetic else "series")


def describe_page(document: ReportDocument, page: PageKind) -> Dataset:
    """All but what is special to its kind. Source: PS3.3 C.7.1.1, C.7.2, C.7.3.1, C.7.5.1, C.12.1."""
    source, target = SourceHeader.of(document.evidence), Dataset()
    describe_patient_and_study(target, source)
    describe_equipment(target, document)
    put(target, "Modality", page.modality)
    put(target, "SeriesInstanceUID", series_instance_uid(document, page))
    put(target, "SeriesNumber", page.series_number)
    put(target, "SeriesDescription", series_description(document, page))
    _describe_instance(target, document, page)
    return target


def series_description(document: ReportDocument, page: PageKind) -> str:
    return f"{SYNTHETIC}, {page.series_description}" if document.model.is_synthetic else page.series_description


def describe_source(target: Dataset, document: ReportDocument, *, keyword: str, purpose: Code) -> None:
    """Name the drafted image. Source: PS3.3 C.7.6.1 (0008,2112), C.24.2 (0042,0013)."""
    reference = image_reference(SourceHeader.of(document.evidence))
    put(reference, "PurposeOfReferenceCodeSequence", [code_item(purpose)])
    put(target, keyword, [reference])


def describe_body_part(target: Dataset, document: ReportDocument) -> None:
    """For images and states: without it a laterality is asked for. Source: PS3.3 C.7.3.1, (0020,0060)."""
    stated = SourceHeader.of(document.evidence).text("BodyPartExamined")
    put(target, "BodyPartExamined", stated or CHEST)


def _describe_instance(target: Dataset, document: ReportDocument, page: PageKind) -> None:
    drafted_at = drafted_locally(document)
    date, time = drafted_at.strftime("%Y%m%d"), drafted_at.strftime("%H%M%S")
    put(target, "SOPClassUID", page.sop_class_uid)
    put(target, "SOPInstanceUID", sop_instance_uid(document, page))
    put(target, "InstanceNumber", str(document.revision))
    put(target, "InstanceCreationDate", date)
    put(target, "InstanceCreationTime", time)
    put(target, "InstanceCreatorUID", node_device_uid(document.node_name))
    put(target, "ContentQualification", RESEARCH)
