"""From a DICOM file to the 8-bit picture the model was trained on: the recipe of MIMIC-CXR-JPG, with guards it lacks.

Raw stored values, no rescale, no window: minimum to maximum becomes 0 to 255, MONOCHROME1 is inverted, the histogram is
equalised over the whole picture, and a JPEG of quality 95 is made and read again.
Source: the dataset author's account in MIT-LCP/mimic-cxr issue 16.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_node.errors import UndecodablePixels
from dicom_node.stored_pixels import read_stored

JPEG_QUALITY = 95  # OpenCV's default, with which the training images were written


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Read a single-frame grey-scale image as the training images were made.

    Returns (H, W) uint8, bone bright, orientation as stored.
    Raises UndecodablePixels for what cannot be decoded in full or is no such image, OSError if the disk fails.
    """
    stored = read_stored(path)
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
