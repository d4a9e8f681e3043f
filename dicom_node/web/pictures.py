"""Films for a browser: PNG of 8 bits, with their window, and with where the model looked laid over."""

from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicom_node.attention import lay_over, maps_from_png
from dicom_node.errors import Permanent
from dicom_node.film import read_film

_FILM_PX = 1024  # longer side
_SMALL_EVERY = 2  # of the film's pixels, where several stand side by side
_KEPT = 16  # films of a megabyte: one page asks for the same one several times


def film_png(part10: Path) -> bytes:
    """Raises UndecodablePixels or OSError, as `read_film`."""
    return _to_png(_film(part10))


def attended_png(part10: Path, attention: bytes | None, number: int) -> bytes:
    """The film, smaller, with one sentence's map. Raises as `film_png`, and Permanent where there is no such map."""
    maps = maps_from_png(attention) if attention else ()
    if number >= len(maps):
        raise Permanent(f"there is no map {number}, expected one of {len(maps)}")
    return _to_png(lay_over(_film(part10)[::_SMALL_EVERY, ::_SMALL_EVERY], maps[number]))


@lru_cache(_KEPT)
def _film(part10: Path) -> NDArray[np.uint8]:
    """A file's name is used once and never again."""
    return read_film(part10, _FILM_PX)


def _to_png(pixels: NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
