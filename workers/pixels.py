"""From a DICOM file to the 8-bit picture the model was trained on: the recipe of MIMIC-CXR-JPG, with guards it lacks.

Raw stored values, no rescale, no window: minimum to maximum becomes 0 to 255, MONOCHROME1 is inverted, the histogram is
equalised over the whole picture, and a JPEG of quality 95 is made and read again.
Source: the dataset author's account in MIT-LCP/mimic-cxr issue 16.
"""

from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, RLELossless

from dicom_node.errors import UndecodablePixels
from dicom_node.receive.header import PARSE_ERRORS, silence_pydicom

MAX_PIXELS = 80_000_000  # a digitised film has 25 million; above 89 million Pillow suspects an attack
JPEG_QUALITY = 95  # OpenCV's default, with which the training images were written
_MAX_SIDE = 65_500  # libjpeg's limit
_END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG (ISO 10918-1 B.1.1.3) and JPEG-LS, EOC of JPEG 2000 (ISO 15444-1 A.4.4)
# PS3.3 C.7.6.3 and the pixel data: all that decoding needs, and nothing about the patient
_WANTED = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
]  # fmt: skip
# What decoders raise: pydicom wraps its plugins' failures in RuntimeError.
_DECODE_ERRORS = (*PARSE_ERRORS, RuntimeError)


@dataclass(frozen=True)
class _Stored:
    """One frame of stored values and how they mean light."""

    values: NDArray[np.integer]  # (H, W), unsigned or signed
    is_inverted: bool  # MONOCHROME1: the lowest value is white


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Read a single-frame grey-scale image as the training images were made.

    Returns (H, W) uint8, bone bright, orientation as stored.
    Raises UndecodablePixels for what cannot be decoded in full or is no such image, OSError if the disk fails.
    """
    stored = _read_stored(path)
    grey = to_8_bit(stored.values)
    if stored.is_inverted:
        grey = np.bitwise_not(grey)
    return _through_jpeg(equalise_histogram(grey))


def equalise_histogram(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spread the grey levels over 0 to 255, bit for bit as OpenCV's equalizeHist.

    grey: (H, W) uint8. Returns (H, W) uint8; a picture of one level stays as it is.
    """
    histogram = np.bincount(grey.ravel(), minlength=256)
    lowest = int(np.flatnonzero(histogram)[0])
    others = grey.size - int(histogram[lowest])
    if others == 0:
        return grey.copy()
    # Single precision and rounding half to even are OpenCV's.
    scale = np.float32(255) / np.float32(others)
    above = (np.cumsum(histogram) - histogram[lowest]).astype(np.float32)
    levels = np.rint(above * scale).clip(0, 255).astype(np.uint8)
    levels[: lowest + 1] = 0
    equalised: NDArray[np.uint8] = levels[grey]
    return equalised


def to_8_bit(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Map minimum to 0 and maximum to 255, truncating between.

    values: (H, W). Returns (H, W) uint8. Raises UndecodablePixels if minimum and maximum are equal.
    """
    low, high = int(values.min()), int(values.max())
    if low == high:
        raise UndecodablePixels(f"every pixel has the value {low}, expected an image")
    # A table, because it gives the recipe's double precision results without an image of doubles.
    levels = (np.arange(high - low + 1) / (high - low) * 255).astype(np.uint8)
    return levels[values.astype(np.int32) - low]


def _through_jpeg(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as a JPEG keeps it; the model has only seen such. (H, W) uint8 to (H, W) uint8."""
    file = BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=JPEG_QUALITY)
    with Image.open(file) as picture:
        return np.array(picture, dtype=np.uint8)


def _read_stored(path: Path) -> _Stored:
    silence_pydicom()
    syntax = "unknown"
    try:
        ds = dcmread(path, specific_tags=list(_WANTED))
        syntax = str(ds.file_meta.TransferSyntaxUID)
        _require_grey_frame(ds)
        _require_whole_stream(ds)
        values, _ = get_decoder(UID(syntax)).as_array(ds, raw=True, decoding_plugin=_plugin(syntax))
    except _DECODE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        raise UndecodablePixels(f"transfer syntax {syntax}: {type(error).__name__} while decoding") from error
    if values.shape != (ds.Rows, ds.Columns):
        raise UndecodablePixels(f"decoded to {values.shape}, expected ({ds.Rows}, {ds.Columns})")
    return _Stored(values, is_inverted=ds.PhotometricInterpretation == "MONOCHROME1")


def _plugin(transfer_syntax: str) -> str:
    """The decoder to use, empty for any.

    A damaged RLE stream makes pylibjpeg-rle panic, which is no Exception and would end the process.
    """
    return "pydicom" if transfer_syntax == RLELossless else ""


def _require_grey_frame(ds: FileDataset) -> None:
    """Raise UndecodablePixels unless the header describes one grey-scale frame that memory can hold."""
    if not ds.get("PixelData"):
        raise UndecodablePixels("(7FE0,0010) Pixel Data is missing, empty or cut off, expected an image")
    _require(ds, "SamplesPerPixel", {1})
    _require(ds, "PhotometricInterpretation", {"MONOCHROME1", "MONOCHROME2"})
    if ds.get("NumberOfFrames") not in (None, "", 0, 1):
        raise UndecodablePixels("(0028,0008) Number of Frames is above 1, expected a single frame")
    _require(ds, "BitsAllocated", {8, 16})
    _require(ds, "BitsStored", range(1, ds.BitsAllocated + 1))
    # PS3.5 8.1.1 since 2014; values stored higher up are read by no decoder here.
    _require(ds, "HighBit", {ds.BitsStored - 1})
    _require(ds, "PixelRepresentation", {0, 1})
    if not (0 < ds.Rows <= _MAX_SIDE and 0 < ds.Columns <= _MAX_SIDE and ds.Rows * ds.Columns <= MAX_PIXELS):
        raise UndecodablePixels(f"image of {ds.Rows} x {ds.Columns}, expected 1 to {MAX_PIXELS} pixels")


def _require(ds: Dataset, keyword: str, expected: Collection[int | str]) -> None:
    value = ds.get(keyword)
    if value in expected:
        return
    # Text is not repeated: it may be anything.
    shown = "missing" if value in (None, "") else str(value) if isinstance(value, int) else "another word"
    wanted = f"{expected[0]}–{expected[-1]}" if isinstance(expected, range) else " or ".join(map(str, sorted(expected)))
    tag = Tag(keyword)
    raise UndecodablePixels(f"{tag} {dictionary_description(tag)} is {shown}, expected {wanted}")


def _require_whole_stream(ds: FileDataset) -> None:
    """Raise UndecodablePixels if a JPEG stream lacks its end: decoders fill up what is missing and say nothing.

    Frames are padded to even length with 00 (PS3.5 A.4), by some senders with FF.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or syntax == RLELossless:
        return
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    if not frame.rstrip(b"\x00\xff").endswith(_END_OF_IMAGE):
        raise UndecodablePixels(f"transfer syntax {syntax}: the stream has no end marker, expected a whole image")
