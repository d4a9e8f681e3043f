"""The last look at a presentation state before it leaves."""

from integration.document import ReportDocument
from integration.page_gate import check_header, check_source, require_equal
from integration.page_header import PRESENTATION
from integration.presentation_text import TextBox
from integration.source_header import SourceHeader

LAYER = "AIDRAFT"  # (0070,0002)
LABEL = "AI_DRAFT"  # (0070,0080)


def check_presentation(payload: bytes, document: ReportDocument, boxes: tuple[TextBox, ...]) -> None:
    """Raises InvalidOutput unless the bytes lay these texts over the drafted image of this patient, and no other."""
    written = check_header(payload, document, PRESENTATION, {"ContentLabel": LABEL})
    source = SourceHeader.of(document.evidence)
    series = written.items("ReferencedSeriesSequence")
    require_equal("the series", [item.text("SeriesInstanceUID") for item in series], [source.text("SeriesInstanceUID")])
    annotations = written.items("GraphicAnnotationSequence")
    for item in (*series, *annotations):
        check_source(item.items("ReferencedImageSequence"), document)
    texts = [text.text("UnformattedTextValue") for item in annotations for text in item.items("TextObjectSequence")]
    require_equal("the text", texts, [box.text for box in boxes])
