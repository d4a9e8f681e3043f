"""A radiograph as people see it: with its window, bone bright, orientation as stored and as the model read it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from dicom_node.stored_pixels import DECODE_ERRORS, StoredPixels, read_stored

_OUTSIDE_PERCENT = 0.5  # of the pixels at either end, for an image without a window that shows anything


def read_film(path: Path, longest_px: int) -> NDArray[np.uint8]:
    """Read a single-frame grey-scale image for display, its longer side `longest_px` at most.

    Returns (H, W) uint8. Raises UndecodablePixels or OSError, as `read_stored`.
    """
    stored = read_stored(path)
    small = _shrink(stored.values, longest_px)
    shown = _through_window(small, stored)
    if shown.min() == shown.max():
        shown = np.clip(small, *np.percentile(small, (_OUTSIDE_PERCENT, 100 - _OUTSIDE_PERCENT)))
    grey = _to_8_bit(shown)
    return np.bitwise_not(grey) if stored.is_inverted else grey


def _shrink(values: NDArray[np.integer], longest_px: int) -> NDArray[np.integer]:
    height, width = values.shape
    scale = min(1.0, longest_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    small: NDArray[np.int32] = np.rint(np.asarray(picture)).astype(np.int32)
    return small


def _through_window(values: NDArray[np.integer], stored: StoredPixels) -> NDArray[np.floating | np.integer]:
    """Values after the modality and VOI transformations (PS3.3 C.11.1, C.11.2); of one level if they say nothing."""
    header = stored.header
    try:
        if not (header.get("WindowWidth") or header.get("VOILUTSequence")):
            return np.zeros(1)
        return apply_voi_lut(apply_modality_lut(values, header), header)
    except DECODE_ERRORS:
        return np.zeros(1)


def _to_8_bit(values: NDArray[np.floating | np.integer]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    grey: NDArray[np.uint8] = np.rint((values - low) / ((high - low) or 1.0) * 255).astype(np.uint8)
    return grey
