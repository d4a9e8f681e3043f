"""Where the model looked while it wrote each sentence: how it is kept, and how it is shown to people."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Stands beside every such picture.
CAPTION = (
    "Bright orange: the parts of the image that the model attended to most while it wrote the sentence. "
    "This does not explain the model, and is no evidence for or against a finding."
)
_TINT = np.array([255.0, 120.0, 0.0], dtype=np.float32)
_STRONGEST = 0.6  # share of the tint where the map is brightest


def maps_to_png(maps: NDArray[np.uint8]) -> bytes:
    """maps: (sentences, side, side) uint8. Returns an 8-bit grey PNG, one map under the other."""
    file = BytesIO()
    Image.fromarray(maps.reshape(-1, maps.shape[2])).save(file, "PNG", optimize=True)
    return file.getvalue()


def maps_from_png(png: bytes) -> NDArray[np.uint8]:
    """The maps that `maps_to_png` kept: (sentences, side, side) uint8."""
    with Image.open(BytesIO(png)) as picture:
        pixels = np.array(picture, dtype=np.uint8)
    return pixels.reshape(-1, pixels.shape[1], pixels.shape[1])


def lay_over(film: NDArray[np.uint8], attended: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The film with one map over the centre square, which is what the model saw of it.

    film: (H, W). attended: (side, side). Returns (H, W, 3) uint8, RGB.
    """
    share = np.zeros(film.shape, np.float32)
    side = min(film.shape)
    top, left = ((length - side) // 2 for length in film.shape)
    large = Image.fromarray(attended).resize((side, side), Image.Resampling.BICUBIC)
    share[top : top + side, left : left + side] = np.asarray(large, np.float32) / 255 * _STRONGEST
    mixed = film[..., None] * (1 - share[..., None]) + _TINT * share[..., None]
    return np.rint(mixed).astype(np.uint8)
