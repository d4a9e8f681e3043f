"""What the gates of all objects for eyes ask: this patient, this study, this image, and the words of a draft on it."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dicom_node.errors import InvalidOutput
from dicom_node.product import MANUFACTURER
from integration.document import ReportDocument
from integration.object_gate import read_back
from integration.page_header import PageKind, series_description, sop_instance_uid
from integration.page_text import PageText
from integration.source_header import SourceHeader
from integration.sr_header import COPIED, RESEARCH, fitting


def check_header(payload: bytes, document: ReportDocument, page: PageKind, stated: Mapping[str, str]) -> SourceHeader:
    """What the bytes say; raises InvalidOutput naming the attribute that does not say what the draft says.

    stated: what this kind of object has to say beside what all have.
    """
    written, source = read_back(payload), SourceHeader.of(document.evidence)
    of_all = {
        "SOPClassUID": page.sop_class_uid,
        "SOPInstanceUID": sop_instance_uid(document, page),
        "Modality": page.modality,
        "SeriesDescription": series_description(document, page),
        "Manufacturer": MANUFACTURER,  # by this the node knows its own output when it comes back
        "ContentQualification": RESEARCH,
    }
    for keyword, value in {**of_all, **stated}.items():
        require_equal(keyword, written.text(keyword), value)
    for keyword in COPIED:
        require_equal(keyword, written.text(keyword), fitting(source, keyword))
    return written


def check_source(written: Iterable[SourceHeader], document: ReportDocument) -> None:
    """written: items that name images. Raises InvalidOutput unless they name the drafted one alone."""
    source = SourceHeader.of(document.evidence)
    named = [(item.text("ReferencedSOPClassUID"), item.text("ReferencedSOPInstanceUID")) for item in written]
    require_equal("the image named", named, [(source.text("SOPClassUID"), source.text("SOPInstanceUID"))])


def check_words(pages: Sequence[str], text: PageText) -> None:
    """pages: what can be read on each. Raises InvalidOutput unless all say whose they are and that they are drafts.

    The draft's letters and digits are counted: scripts from right to left are found in another order.
    """
    for page in pages:
        for line in (text.banner, text.patient):
            if _letters(line) - _letters(page):
                raise InvalidOutput("page gate: a page does not say whose it is, or that it is a draft")
    sections = (line for section in text.sections for line in section.lines)
    drafted = _letters("".join((*text.warning, *sections)))
    if not pages or drafted - _letters("".join(pages)):
        raise InvalidOutput("page gate: letters of the draft are missing")


def require_equal(field: str, found: object, expected: object) -> None:
    """Raises InvalidOutput. The values stay out of the message: they may be the patient's."""
    if found != expected:
        raise InvalidOutput(f"page gate: {field} is not what the draft says")


def _letters(text: str) -> Counter[str]:
    return Counter(each for each in unicodedata.normalize("NFKC", text) if each.isalnum())
