"""The objects that a PACS can be sent, and which PACS is sent what."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.uid import UID, Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage

from dicom_node.config import Settings
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration import findings_report, rejection_note, sr_header, structured_report
from integration.conformance.markdown import table
from integration.page_header import CAPTURE, PDF, PRESENTATION


@dataclass(frozen=True)
class Product:
    """One kind of object; one SOP class, or as many as a setting has a choice of."""

    kind: DeliveryKind
    sop_classes: tuple[UID, ...]
    modality: str
    series_number: str
    series_description: str


PRODUCTS = (
    Product(
        DeliveryKind.SR,
        tuple(sr_header.SR_CLASSES.values()),
        sr_header.MODALITY,
        structured_report.SERIES_NUMBER,
        structured_report.SERIES_DESCRIPTION,
    ),
    Product(
        DeliveryKind.FINDINGS,
        (Comprehensive3DSRStorage,),
        sr_header.MODALITY,
        findings_report.SERIES_NUMBER,
        findings_report.SERIES_DESCRIPTION,
    ),
    *(
        Product(each.kind, (each.sop_class_uid,), each.modality, each.series_number, each.series_description)
        for each in (PDF, CAPTURE, PRESENTATION)
    ),
    Product(
        DeliveryKind.REJECTION,
        (KeyObjectSelectionDocumentStorage,),
        rejection_note.MODALITY,
        rejection_note.SERIES_NUMBER,
        rejection_note.SERIES_DESCRIPTION,
    ),
)


def product_facts() -> Mapping[str, str]:
    return {
        "products": table(
            ("object", "SOP class", "modality", "series number", "series description"),
            (
                (f"`{each.kind}`", ", ".join(uid.name for uid in each.sop_classes), each.modality, each.series_number,
                 each.series_description)
                for each in PRODUCTS
            ),
        ),
        "completion_description": structured_report.COMPLETION_DESCRIPTION,
        "findings_completion_description": findings_report.COMPLETION_DESCRIPTION,
    }  # fmt: skip


def takers(settings: Settings, product: Product, sop_class_uid: UID) -> tuple[str, ...]:
    """The names of the PACS that are sent the product in this SOP class."""
    return tuple(each.name for each in settings.pacs if sop_class_uid in _sent(each, product))


def _sent(destination: DicomDestination, product: Product) -> tuple[UID, ...]:
    if product.kind == DeliveryKind.REJECTION:
        return product.sop_classes if destination.rejection_notes else ()
    if product.kind.value not in destination.objects:
        return ()
    return (sr_header.SR_CLASSES[destination.sr_class],) if product.kind == DeliveryKind.SR else product.sop_classes
