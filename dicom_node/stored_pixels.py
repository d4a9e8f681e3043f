"""The stored values of one grey-scale image: decoded in full, or refused with the reason (PS3.3 C.7.6.3)."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import UID, RLELossless

from dicom_node.errors import UndecodablePixels
from dicom_node.pydicom_faults import PARSE_ERRORS, silence_pydicom
from dicom_node.rle_length import longest_segment
from dicom_node.stream_size import StreamSize, read_size

MAX_PIXELS = 80_000_000  # a digitised film has 25 million; above 89 million Pillow suspects an attack
_MAX_SIDE = 65_500  # libjpeg's limit
_END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG (ISO 10918-1 B.1.1.3) and JPEG-LS, EOC of JPEG 2000 (ISO 15444-1 A.4.4)
# PS3.3 C.7.6.3 and the pixel data: all that decoding needs
_NEEDED = [
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData",
]  # fmt: skip
# PS3.3 C.11.1, C.11.2: how the values are to be shown
_SHOWN_BY = [
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
]  # fmt: skip
# What decoders raise: pydicom wraps its plugins' failures in RuntimeError.
DECODE_ERRORS = (*PARSE_ERRORS, RuntimeError)


@dataclass(frozen=True)
class StoredPixels:
    """One frame of stored values and how they mean light."""

    values: NDArray[np.integer]  # (H, W), unsigned or signed
    is_inverted: bool  # MONOCHROME1: the lowest value is white
    header: Dataset  # what describes the pixels, and nothing about the patient


def read_stored(path: Path) -> StoredPixels:
    """Decode a single-frame grey-scale image, orientation as stored.

    Raises UndecodablePixels for what cannot be decoded in full or is no such image, OSError if the disk fails.
    """
    silence_pydicom()
    syntax = "unknown"
    try:
        ds = dcmread(path, specific_tags=[*_NEEDED, *_SHOWN_BY])
        syntax = str(ds.file_meta.TransferSyntaxUID)
        _require_grey_frame(ds)
        _require_fitting_stream(ds)
        values, _ = get_decoder(UID(syntax)).as_array(ds, raw=True, decoding_plugin=_plugin(syntax))
    except DECODE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        raise UndecodablePixels(f"transfer syntax {syntax}: {type(error).__name__} while decoding") from error
    if values.shape != (ds.Rows, ds.Columns):
        raise UndecodablePixels(f"decoded to {values.shape}, expected ({ds.Rows}, {ds.Columns})")
    is_inverted = ds.PhotometricInterpretation == "MONOCHROME1"
    del ds.PixelData
    return StoredPixels(values, is_inverted, ds)


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


def _require_fitting_stream(ds: FileDataset) -> None:
    """Raise UndecodablePixels unless compressed pixels are as many as the header says: decoders make room for them."""
    syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    if syntax == RLELossless:
        _require_fitting_segments(ds, frame)
    else:
        _require_whole_stream(ds, frame)


def _require_fitting_segments(ds: FileDataset, frame: bytes) -> None:
    """Of RLE, each of which holds one byte of every pixel. Senders write some more."""
    most = 2 * ds.Rows * ds.Columns
    if longest_segment(frame, limit=most) > most:
        raise UndecodablePixels(f"transfer syntax {RLELossless}: a segment is longer than {ds.Rows} x {ds.Columns}")


def _require_whole_stream(ds: FileDataset, frame: bytes) -> None:
    """Of the JPEG family: of the header's size, and with its end.

    A few bytes can say to be gigabytes. What is missing decoders fill up, and say nothing. Frames are padded to even
    length with 00 (PS3.5 A.4), by some senders with FF.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    size, expected = read_size(frame), StreamSize(ds.Rows, ds.Columns, ds.SamplesPerPixel)
    if size != expected:
        raise UndecodablePixels(f"transfer syntax {syntax}: the stream is of {size}, expected {expected}")
    if not frame.rstrip(b"\x00\xff").endswith(_END_OF_IMAGE):
        raise UndecodablePixels(f"transfer syntax {syntax}: the stream has no end marker, expected a whole image")
