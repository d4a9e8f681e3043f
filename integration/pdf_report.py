"""The draft as a DICOM Encapsulated PDF (PS3.3 A.45.1): for a PACS that shows no Structured Reports."""

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.attention import lay_over, maps_from_png
from dicom_node.film import read_film
from dicom_node.peers import DicomDestination
from dicom_node.sentences import find_sentences
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.page_fonts import require_drawable
from integration.page_header import PDF, describe_page, describe_source, series_description
from integration.page_text import write_page
from integration.pdf_gate import MIME_TYPE, SYNTHESIZED, check_pdf
from integration.pdf_layout import Pictures, draw_sheets
from integration.report_text import split_lines
from integration.source_header import SourceHeader
from integration.sr_content import REPORT
from integration.sr_element import code_item, put
from integration.sr_file import finish, to_bytes
from integration.sr_header import UNVERIFIED
from integration.structured_report import require_text

_SOURCE_IMAGE = Code("121324", "DCM", "Source Image")  # CID 7060
_FILM_PX = 1200  # longer side


def encode_pdf(document: ReportDocument, _: DicomDestination) -> Encoded:
    """Write the draft as a file that passed its gate.

    Raises InvalidOutput, UndecodablePixels, or OSError if the image cannot be read now.
    """
    require_text(document)
    text = write_page(document)
    require_drawable(text.texts())
    pdf = draw_sheets(text, _pictures(document), document.drafted_at)
    report = _build(document, pdf)
    payload = to_bytes(report)
    check_pdf(payload, document, text)
    return Encoded(payload=payload, identifier=str(report.SOPInstanceUID))


def _pictures(document: ReportDocument) -> Pictures:
    film = read_film(document.image, _FILM_PX)
    if document.attention is None:
        return Pictures(film)
    maps, sentences = maps_from_png(document.attention), find_sentences(document.findings)
    if len(maps) != len(sentences):  # drafted before the rules of sentences changed: whose map is whose is not known
        return Pictures(film)
    small = film[::2, ::2]  # two of them fit into the width of a page
    words = (" ".join(split_lines(document.findings[start:end])) for start, end in sentences)
    return Pictures(film, [(each, lay_over(small, attended)) for each, attended in zip(words, maps, strict=True)])


def _build(document: ReportDocument, pdf: bytes) -> Dataset:
    """Source: PS3.3 C.8.6.1, C.24.1, C.24.2."""
    target = describe_page(document, PDF)
    put(target, "ConversionType", SYNTHESIZED)
    put(target, "ContentDate", target.InstanceCreationDate)
    put(target, "ContentTime", target.InstanceCreationTime)
    put(target, "AcquisitionDateTime", "")
    put(target, "BurnedInAnnotation", "YES")
    describe_source(target, document, keyword="SourceInstanceSequence", purpose=_SOURCE_IMAGE)
    put(target, "DocumentTitle", series_description(document, PDF))
    put(target, "ConceptNameCodeSequence", [code_item(REPORT)])
    put(target, "VerificationFlag", UNVERIFIED)
    put(target, "MIMETypeOfEncapsulatedDocument", MIME_TYPE)
    target.EncapsulatedDocumentLength = len(pdf)
    target.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)  # PS3.5 6.2, OB
    finish(target, SourceHeader.of(document.evidence))
    return target
