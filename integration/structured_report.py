"""The draft as a DICOM Basic Text SR (PS3.3 A.35.1): unverified, preliminary, partial, by a device."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.errors import InvalidOutput
from dicom_node.product import MANUFACTURER, software_version
from dicom_node.uids import derive_uid
from integration.charset import UTF_8, Terms, holds, is_known
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.report_text import split_lines
from integration.source_header import SourceHeader
from integration.sr_content import describe_content
from integration.sr_element import put
from integration.sr_gate import check_sr
from integration.sr_header import (
    describe_document,
    describe_equipment,
    describe_patient_and_study,
    describe_references,
    describe_series,
)

_IMPLEMENTATION_CLASS_UID = derive_uid(MANUFACTURER, "implementation")  # PS3.10 7.1, (0002,0012)
_ASCII = (("ISO_IR 6",), ())  # the default repertoire: (0008,0005) is left out


def build_sr(document: ReportDocument) -> Dataset:
    """Make the report as a data set with file meta information. Equal documents give equal data sets.

    Raises InvalidOutput if there is no text, or no study or image to hang it on.
    """
    for name in ("findings", "disclaimer"):
        if not split_lines(getattr(document, name)):
            raise InvalidOutput(f"SR: {name} is empty, expected text")
    source = SourceHeader.of(document.evidence)
    report = Dataset()
    describe_patient_and_study(report, source)
    describe_series(report, document)
    describe_equipment(report, document)
    describe_document(report, document)
    describe_references(report, source, document.order)
    describe_content(report, document)
    report.file_meta = _file_meta(report)
    _declare(report, _choose_terms(report, source.terms))
    return report


def encode_sr(document: ReportDocument) -> Encoded:
    """Write the report as a Part 10 file that passed its gate. Raises InvalidOutput."""
    report = build_sr(document)
    payload = _to_bytes(report)
    check_sr(payload, document)
    return Encoded(payload=payload, identifier=str(report.SOPInstanceUID))


def _file_meta(report: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = report.SOPClassUID
    meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"{MANUFACTURER}_{software_version()}"[:16]  # SH
    return meta


def _choose_terms(report: Dataset, source: Terms) -> Terms:
    """The image's character set if it carries every text there and back, else UTF-8. Never a replacement character."""
    texts = list(SourceHeader(report, ()).texts())
    if not is_known(source) or not all(holds(source, text, is_name=vr == "PN") for vr, text in texts):
        return UTF_8
    _declare(report, source)
    written = SourceHeader.of(dcmread(BytesIO(_to_bytes(report))))
    return source if list(written.texts()) == texts else UTF_8


def _declare(report: Dataset, terms: Terms) -> None:
    if terms not in _ASCII:
        put(report, "SpecificCharacterSet", "\\".join(terms))
    elif "SpecificCharacterSet" in report:
        del report.SpecificCharacterSet


def _to_bytes(report: Dataset) -> bytes:
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
