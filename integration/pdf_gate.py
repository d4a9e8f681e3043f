"""The last look at an Encapsulated PDF before it leaves."""

from integration.document import ReportDocument
from integration.page_gate import check_header, check_source, check_words, require_equal
from integration.page_header import PDF, series_description
from integration.page_raster import read_words
from integration.page_text import PageText
from integration.sr_header import UNVERIFIED

MIME_TYPE = "application/pdf"  # PS3.3 C.24.2, (0042,0012)
SYNTHESIZED = "SYN"  # PS3.3 C.8.6.1, (0008,0064)


def check_pdf(payload: bytes, document: ReportDocument, text: PageText) -> None:
    """Raises InvalidOutput unless the bytes say this draft about this patient and image, and every page that it is one.

    text: what the pages have to say.
    """
    stated = {
        "VerificationFlag": UNVERIFIED,
        "MIMETypeOfEncapsulatedDocument": MIME_TYPE,
        "BurnedInAnnotation": "YES",
        "DocumentTitle": series_description(document, PDF),
    }
    written = check_header(payload, document, PDF, stated)
    check_source(written.items("SourceInstanceSequence"), document)
    pdf = written.dataset.EncapsulatedDocument[: written.dataset.EncapsulatedDocumentLength]
    require_equal("EncapsulatedDocument", pdf[:5], b"%PDF-")
    check_words(read_words(pdf), text)
