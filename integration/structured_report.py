"""The draft as a DICOM SR (PS3.3 A.35.1 to A.35.3): unverified, preliminary, partial, by a device."""

from dataclasses import replace

from pydicom.dataset import Dataset

from dicom_node.errors import InvalidOutput
from dicom_node.peers import DicomDestination
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.report_text import split_lines
from integration.source_header import SourceHeader
from integration.sr_content import describe_content
from integration.sr_file import finish, to_bytes
from integration.sr_gate import check_sr
from integration.sr_header import (
    PARTIAL,
    SR_CLASSES,
    SrProduct,
    describe_document,
    describe_equipment,
    describe_patient_and_study,
    describe_predecessor,
    describe_references,
    describe_series,
)
from integration.sr_identity import model_device, sr_series_instance_uid, sr_sop_instance_uid

SERIES_NUMBER = "9901"
SERIES_DESCRIPTION = "AI DRAFT CXR report (not reviewed)"
COMPLETION_DESCRIPTION = "AI draft of the findings; awaiting radiologist"


def build_sr(document: ReportDocument) -> Dataset:
    """Make the report as a data set with file meta information. Equal documents give equal data sets.

    Raises InvalidOutput if there is no text, or no study or image to hang it on.
    """
    require_text(document)
    source = SourceHeader.of(document.evidence)
    product = _product(document)
    report = Dataset()
    describe_patient_and_study(report, source)
    describe_series(report, document, product)
    describe_equipment(report, document)
    describe_document(report, document, product)
    describe_references(report, source, document.order)
    describe_predecessor(report, document)
    describe_content(report, document)
    finish(report, source)
    return report


def encode_sr(document: ReportDocument, destination: DicomDestination) -> Encoded:
    """Write the report in the destination's SOP class, as a file that passed its gate. Raises InvalidOutput."""
    document = replace(document, sr_class=destination.sr_class)
    report = build_sr(document)
    payload = to_bytes(report)
    check_sr(payload, document)
    return Encoded(payload=payload, identifier=str(report.SOPInstanceUID))


def require_text(document: ReportDocument) -> None:
    """Raise InvalidOutput unless there is a draft, and words of warning before it."""
    for name in ("findings", "disclaimer"):
        if not split_lines(getattr(document, name)):
            raise InvalidOutput(f"SR: {name} is empty, expected text")


def _product(document: ReportDocument) -> SrProduct:
    return SrProduct(
        sop_class_uid=SR_CLASSES[document.sr_class],
        sop_instance_uid=sr_sop_instance_uid(document),
        series_instance_uid=sr_series_instance_uid(document),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        completion_flag=PARTIAL,
        completion_description=COMPLETION_DESCRIPTION,
        author=model_device(document.model),
    )
