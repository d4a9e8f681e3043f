"""The draft as text over the film: a Grayscale Softcopy Presentation State (PS3.3 A.33.1)."""

import re
from copy import deepcopy

from pydicom.dataset import Dataset

from dicom_node.errors import InvalidOutput
from dicom_node.peers import DicomDestination
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.page_header import PRESENTATION, describe_body_part, describe_page, series_description
from integration.presentation_gate import LABEL, LAYER, check_presentation
from integration.presentation_text import TextBox, write_boxes
from integration.source_header import SourceHeader
from integration.sr_element import make_item, put
from integration.sr_file import finish, to_bytes
from integration.sr_header import image_reference
from integration.structured_report import require_text

_RESCALE = ("RescaleIntercept", "RescaleSlope")
_UNSPECIFIED = "US"  # PS3.3 C.11.1.1.2, (0028,1054)
_WINDOW = ("WindowCenter", "WindowWidth")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # PS3.3 C.11.2.1.3, (0028,1056)
_RATIO = re.compile(r"[1-9]\d*\\[1-9]\d*")
_LUT = ("LUTDescriptor", "LUTData")


def encode_presentation(document: ReportDocument, _: DicomDestination) -> Encoded:
    """Write the presentation state as a file that passed its gate. Raises InvalidOutput."""
    require_text(document)
    boxes = write_boxes(document)
    state = _build(document, boxes)
    payload = to_bytes(state)
    check_presentation(payload, document, boxes)
    return Encoded(payload=payload, identifier=str(state.SOPInstanceUID))


def _build(document: ReportDocument, boxes: tuple[TextBox, ...]) -> Dataset:
    source = SourceHeader.of(document.evidence)
    target = describe_page(document, PRESENTATION)
    describe_body_part(target, document)
    _identify(target, document)
    _refer(target, source)
    _annotate(target, source, boxes)
    _show_all(target, source)
    _show_as_the_image_does(target, source)
    finish(target, source)
    return target


def _identify(target: Dataset, document: ReportDocument) -> None:
    """Source: PS3.3 C.11.10."""
    put(target, "ContentLabel", LABEL)
    put(target, "ContentDescription", series_description(document, PRESENTATION))
    put(target, "PresentationCreationDate", target.InstanceCreationDate)
    put(target, "PresentationCreationTime", target.InstanceCreationTime)
    put(target, "ContentCreatorName", "")


def _refer(target: Dataset, source: SourceHeader) -> None:
    """Source: PS3.3 C.11.11."""
    series = source.require("SeriesInstanceUID")
    item = make_item(SeriesInstanceUID=series, ReferencedImageSequence=[image_reference(source)])
    put(target, "ReferencedSeriesSequence", [item])


def _annotate(target: Dataset, source: SourceHeader, boxes: tuple[TextBox, ...]) -> None:
    """Source: PS3.3 C.10.5, C.10.7."""
    layer = make_item(GraphicLayer=LAYER, GraphicLayerOrder="1", GraphicLayerDescription="AI draft, not reviewed")
    put(target, "GraphicLayerSequence", [layer])
    annotation = make_item(
        ReferencedImageSequence=[image_reference(source)], GraphicLayer=LAYER, TextObjectSequence=map(_text, boxes)
    )
    put(target, "GraphicAnnotationSequence", [annotation])


def _text(box: TextBox) -> Dataset:
    item = make_item(
        BoundingBoxAnnotationUnits="DISPLAY",
        UnformattedTextValue=box.text,
        BoundingBoxTextHorizontalJustification="LEFT",
    )
    item.BoundingBoxTopLeftHandCorner = list(box.top_left)
    item.BoundingBoxBottomRightHandCorner = list(box.bottom_right)
    return item


def _show_all(target: Dataset, source: SourceHeader) -> None:
    """The whole image. Source: PS3.3 C.10.4."""
    area = make_item(ReferencedImageSequence=[image_reference(source)], PresentationSizeMode="SCALE TO FIT")
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [_count(source, "Columns"), _count(source, "Rows")]
    ratio = source.text("PixelAspectRatio")
    put(area, "PresentationPixelAspectRatio", ratio if _RATIO.fullmatch(ratio) else "1\\1")
    put(target, "DisplayedAreaSelectionSequence", [area])


def _count(source: SourceHeader, keyword: str) -> int:
    value = source.dataset.get(keyword)
    if not isinstance(value, int):
        raise InvalidOutput(f"source header: {keyword} is missing or no number, expected one")
    return value


def _show_as_the_image_does(target: Dataset, source: SourceHeader) -> None:
    """A state replaces the image's own transformations: they are repeated. Source: PS3.3 C.11.1, C.11.6, C.11.8."""
    rescale = {keyword: source.first(keyword) for keyword in _RESCALE}
    if all(rescale.values()):
        for keyword, value in rescale.items():
            put(target, keyword, value)
        put(target, "RescaleType", source.text("RescaleType") or _UNSPECIFIED)
    if voi := _voi(source):
        put(target, "SoftcopyVOILUTSequence", [voi])
    is_inverted = source.text("PhotometricInterpretation") == "MONOCHROME1"
    put(target, "PresentationLUTShape", "INVERSE" if is_inverted else "IDENTITY")


def _voi(source: SourceHeader) -> Dataset | None:
    """The first window, else the first table; None if the image has neither."""
    window = {keyword: source.first(keyword) for keyword in _WINDOW}
    if all(window.values()) and float(window["WindowWidth"]) > 0:
        if (function := source.text("VOILUTFunction")) in _FUNCTIONS:
            window["VOILUTFunction"] = function
        return make_item(**window)
    luts = [_lut(item) for item in source.items("VOILUTSequence")][:1]
    return make_item(VOILUTSequence=luts) if luts else None


def _lut(item: SourceHeader) -> Dataset:
    copied = Dataset()
    for keyword in _LUT:
        if keyword in item.dataset:
            copied[keyword] = deepcopy(item.dataset[keyword])
    return copied
