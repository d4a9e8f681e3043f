"""The findings for machines: a Comprehensive 3D SR (PS3.3 A.35.13) of what a labeller read in the draft (IHE AIR)."""

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.errors import NothingToTell
from dicom_node.labels import Labels
from dicom_node.peers import DicomDestination
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.findings_content import describe_findings
from integration.findings_gate import check_findings
from integration.source_header import SourceHeader
from integration.sr_file import finish, to_bytes
from integration.sr_header import (
    COMPLETE,
    SrProduct,
    describe_document,
    describe_equipment,
    describe_patient_and_study,
    describe_references,
    describe_series,
)
from integration.sr_identity import findings_series_instance_uid, findings_sop_instance_uid, labeller_device
from integration.structured_report import require_text

SERIES_NUMBER = "9902"
SERIES_DESCRIPTION = "AI DRAFT CXR findings (not reviewed)"
COMPLETION_DESCRIPTION = "All that a labeller read in the AI draft; not reviewed"


def build_findings(document: ReportDocument, labels: Labels) -> Dataset:
    """Make the object as a data set with file meta information. Equal arguments give equal data sets.

    Raises InvalidOutput if there is no text, or no study or image to hang it on.
    """
    require_text(document)
    source = SourceHeader.of(document.evidence)
    product = _product(document, labels)
    report = Dataset()
    describe_patient_and_study(report, source)
    describe_series(report, document, product)
    describe_equipment(report, document, product.author)
    describe_document(report, document, product)
    describe_references(report, source, document.order)
    describe_findings(report, document, labels)
    finish(report, source)
    return report


def encode_findings(document: ReportDocument, destination: DicomDestination) -> Encoded:
    """Write the object as a file that passed its gate. Raises InvalidOutput, or NothingToTell without any label."""
    if document.labels is None or not document.labels.labels:
        raise NothingToTell("there is nothing to code: no labeller has found a known finding in the draft")
    report = build_findings(document, document.labels)
    payload = to_bytes(report)
    check_findings(payload, document, document.labels)
    return Encoded(payload=payload, identifier=str(report.SOPInstanceUID))


def _product(document: ReportDocument, labels: Labels) -> SrProduct:
    return SrProduct(
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=findings_sop_instance_uid(document, labels),
        series_instance_uid=findings_series_instance_uid(document),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        completion_flag=COMPLETE,
        completion_description=COMPLETION_DESCRIPTION,
        author=labeller_device(document.model, labels.labeller),
    )
