"""From a grey image to the tower's input: resize, centre crop, normalise, bit for bit as in training.

Source: open_clip 2.23 validation transform, with which LLaVA-Rad was trained (`image_aspect_ratio` = square).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_node.errors import UndecodablePixels

# OpenAI CLIP's constants, one per channel: (3, 1, 1).
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32).reshape(3, 1, 1)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32).reshape(3, 1, 1)
# No radiograph is a strip; a hostile 1 x 60000 image would be enlarged to gigabytes.
MAX_ASPECT = 8


@dataclass(frozen=True)
class Prepared:
    """`tensor` is (3, S, S) float32; `cropped_fraction` is the share of the area, 0 to 1, cut off by the crop."""

    tensor: NDArray[np.float32]
    cropped_fraction: float


def to_tensor(pixels: NDArray[np.uint8], size_px: int) -> Prepared:
    """Scale the short edge to `size_px`, keep the centre square, normalise.

    pixels: (H, W) uint8, 0 black to 255 white. Raises UndecodablePixels if it is not such an image.
    """
    _check(pixels)
    resized = _resize_short_edge(Image.fromarray(pixels), size_px)
    square = _crop_centre(resized, size_px)
    grey = np.asarray(square, dtype=np.float32) / np.float32(255)
    tensor = (grey[np.newaxis] - MEAN) / STD
    return Prepared(tensor, 1.0 - size_px * size_px / (resized.width * resized.height))


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise UndecodablePixels(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 (H, W)")
    if max(pixels.shape) > MAX_ASPECT * min(pixels.shape):
        raise UndecodablePixels(f"pixels are {pixels.shape}, expected sides of a ratio up to {MAX_ASPECT}")


def _resize_short_edge(image: Image.Image, size_px: int) -> Image.Image:
    short, long = sorted(image.size)
    scaled = size_px, int(size_px * long / short)  # the floor is part of the recipe
    return image.resize(scaled if image.width <= image.height else scaled[::-1], Image.Resampling.BICUBIC)


def _crop_centre(image: Image.Image, size_px: int) -> Image.Image:
    left, top = (int(round((side - size_px) / 2)) for side in image.size)  # noqa: RUF046 - the recipe, to the letter
    return image.crop((left, top, left + size_px, top + size_px))
