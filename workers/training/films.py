"""All films at the model's size in one file on disk, decoded and scaled once."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.progress import Progress

from dicom_node.errors import Permanent, UndecodablePixels
from workers.llavarad.preprocess import MEAN, STD, to_tensor
from workers.training.files import new_array, whole_file
from workers.training.records import Record

Films = NDArray[np.uint8]


def load_films(records: Sequence[Record], size_px: int, path: Path, progress: Progress) -> Films:
    """(N, S, S) uint8, a memory map of the file `path`, which is made if it is not there.

    Raises Permanent naming the first record whose image cannot be read, StorageFull where the films have no room.
    """
    if not path.exists():
        with whole_file(path) as part:
            _decode_all(records, size_px, part, progress)
    films: Films = np.load(path, mmap_mode="r")
    return films


def films_key(records: Sequence[Record], size_px: int) -> str:
    """Changes with the images' names, order or sizes, not with their place.

    Raises Permanent naming the first record whose image is missing.
    """
    facts = [(record.image.name, _size_bytes(record)) for record in records]
    return hashlib.sha256(json.dumps([size_px, facts]).encode()).hexdigest()[:16]


def normalise(films: Films) -> NDArray[np.float32]:
    """(B, S, S) to (B, 3, S, S), by the arithmetic of `to_tensor`, so the model sees the same bits when it works."""
    grey = films.astype(np.float32) / np.float32(255)
    pixels: NDArray[np.float32] = (grey[:, np.newaxis] - MEAN) / STD
    return pixels


def _size_bytes(record: Record) -> int:
    try:
        return record.image.stat().st_size
    except OSError as error:
        raise Permanent(f"record {record.id}: image {record.image} is missing") from error


def _decode_all(records: Sequence[Record], size_px: int, part: Path, progress: Progress) -> None:
    films = new_array(part, np.uint8, (len(records), size_px, size_px))
    with ThreadPoolExecutor(thread_name_prefix="films") as pool:
        decoded = pool.map(partial(_decode, size_px=size_px), records)
        for index, film in enumerate(progress.track(decoded, total=len(records), description="films")):
            films[index] = film
    films.flush()


def _require_8_bits(record: Record, image: Image.Image) -> None:
    """Pillow would make white of all that is above 255."""
    if image.mode.startswith(("I", "F")):
        raise Permanent(
            f"record {record.id}: image {record.image.name} has more than 8 bits a pixel ({image.mode}), expected 8"
        )


def _decode(record: Record, size_px: int) -> Films:
    try:
        with Image.open(record.image) as image:
            _require_8_bits(record, image)
            prepared = to_tensor(np.asarray(image.convert("L")), size_px)
    except (OSError, UnidentifiedImageError, UndecodablePixels) as error:
        raise Permanent(f"record {record.id}: image {record.image.name} cannot be read") from error
    # Back from the normalised first channel to its grey levels, which lie far enough apart for this to be exact.
    levels: Films = np.rint((prepared.tensor[0] * STD[0] + MEAN[0]) * 255).astype(np.uint8)
    return levels
