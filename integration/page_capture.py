"""The film and the draft on one Secondary Capture image (PS3.3 A.8.1): what every viewer shows."""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.film import read_film
from dicom_node.peers import DicomDestination
from integration.capture_gate import DERIVED, WORKSTATION, check_capture
from integration.capture_layout import draw_capture
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.page_fonts import require_drawable
from integration.page_gate import check_words
from integration.page_header import CAPTURE, describe_body_part, describe_page, describe_source
from integration.page_raster import paint, read_words
from integration.page_text import write_page
from integration.source_header import SourceHeader
from integration.sr_element import put
from integration.sr_file import finish, to_bytes
from integration.structured_report import require_text

_SOURCE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202
_DERIVATION = "AI draft of the findings beside the image it was drafted from"
_WIDTH_PX = 1800
_FILM_PX = 1200  # longer side


def encode_capture(document: ReportDocument, _: DicomDestination) -> Encoded:
    """Write the page as a file that passed its gate.

    Raises InvalidOutput, UndecodablePixels, or OSError if the image cannot be read now.
    """
    require_text(document)
    text = write_page(document)
    require_drawable(text.texts())
    drawn = draw_capture(text, read_film(document.image, _FILM_PX), document.drafted_at)
    check_words(read_words(drawn), text)  # pixels cannot be read again
    pixels = paint(drawn, _WIDTH_PX)
    page = _build(document, pixels)
    payload = to_bytes(page)
    check_capture(payload, document, pixels)
    return Encoded(payload=payload, identifier=str(page.SOPInstanceUID))


def _build(document: ReportDocument, pixels: NDArray[np.uint8]) -> Dataset:
    """Source: PS3.3 C.8.6.1, C.7.6.1, C.7.6.3, C.8.6.2."""
    target = describe_page(document, CAPTURE)
    describe_body_part(target, document)
    put(target, "ConversionType", WORKSTATION)
    put(target, "ContentDate", target.InstanceCreationDate)
    put(target, "ContentTime", target.InstanceCreationTime)
    put(target, "PatientOrientation", "")
    put(target, "ImageType", DERIVED)
    put(target, "DerivationDescription", _DERIVATION)
    describe_source(target, document, keyword="SourceImageSequence", purpose=_SOURCE)
    put(target, "BurnedInAnnotation", "YES")
    put(target, "LossyImageCompression", "00")
    _describe_pixels(target, pixels)
    finish(target, SourceHeader.of(document.evidence))
    return target


def _describe_pixels(target: Dataset, pixels: NDArray[np.uint8]) -> None:
    target.SamplesPerPixel = 1
    target.PhotometricInterpretation = "MONOCHROME2"
    target.Rows, target.Columns = pixels.shape
    target.BitsAllocated = target.BitsStored = 8
    target.HighBit = 7
    target.PixelRepresentation = 0
    data = pixels.tobytes()
    target.PixelData = data + b"\0" * (len(data) % 2)
