"""From a data set to the bytes of a DICOM file (PS3.10), in a character set that holds every text."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.product import MANUFACTURER, software_version
from dicom_node.uids import derive_uid
from integration.charset import UTF_8, Terms, holds, is_known
from integration.source_header import SourceHeader
from integration.sr_element import put

_IMPLEMENTATION_CLASS_UID = derive_uid(MANUFACTURER, "implementation")  # PS3.10 7.1, (0002,0012)
_ASCII = (("ISO_IR 6",), ())  # the default repertoire: (0008,0005) is left out


def finish(report: Dataset, source: SourceHeader) -> None:
    """Add what only the finished data set can tell: its file meta information and its Specific Character Set.

    The set is that of the image where it carries every text there and back, else UTF-8: never a replacement character.
    """
    report.file_meta = _file_meta(report)
    _declare(report, _choose_terms(report, source.terms))


def to_bytes(report: Dataset) -> bytes:
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _file_meta(report: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = report.SOPClassUID
    meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"{MANUFACTURER}_{software_version()}"[:16]  # SH
    return meta


def _choose_terms(report: Dataset, source: Terms) -> Terms:
    texts = list(SourceHeader(report, ()).texts())
    if not is_known(source) or not all(holds(source, text, is_name=vr == "PN") for vr, text in texts):
        return UTF_8
    _declare(report, source)
    written = SourceHeader.of(dcmread(BytesIO(to_bytes(report))))
    return source if list(written.texts()) == texts else UTF_8


def _declare(report: Dataset, terms: Terms) -> None:
    if terms not in _ASCII:
        put(report, "SpecificCharacterSet", "\\".join(terms))
    elif "SpecificCharacterSet" in report:
        del report.SpecificCharacterSet
