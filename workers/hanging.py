"""Whether a film is stored as the model's training films were: the patient's left on its right, and no negative."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_description
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from dicom_node.pydicom_faults import invalid_header
from workers.selection import Skipped, SkipReason

_DIRECTIONS = re.compile(r"[LRAPHF]{1,3}\\[LRAPHF]{1,3}")  # of rows and of columns, PS3.3 C.7.6.1.1.1
_AS_IT_HANGS = ("L", "F")  # to the patient's left, to the feet


def refuse(part10: Path) -> Skipped | None:
    """Why a film that was chosen by its row is not read after all; None: it may be.

    Raises InvalidHeader where the header cannot be read, OSError where the disk fails.
    """
    if how := turned(part10):
        return Skipped(SkipReason.TURNED, how)
    if how := negative(part10):
        return Skipped(SkipReason.NEGATIVE, how)
    return None


def turned(part10: Path) -> str:
    """How the film is stored, if its Patient Orientation (0020,0020) says that it is mirrored or turned; else empty.

    Such a film would be read with left for right. A header that is silent is believed to mean the usual.
    Raises as `refuse`.
    """
    with _reading(part10, "PatientOrientation") as value:
        words = "\\".join(_strings(value))
    if not words.strip("\\ "):
        return ""
    if not _DIRECTIONS.fullmatch(words):
        return "its orientation is not in letters"
    rows, columns = words.split("\\")
    return "" if (rows[0], columns[0]) == _AS_IT_HANGS else f"rows to {rows}, columns to {columns}"


def negative(part10: Path) -> str:
    """What says that the film is shown with dark for bright, by its Modality LUT module (PS3.3 C.11.1); else empty.

    The training films were made without that module, of films that have none. Raises as `refuse`.
    """
    with _reading(part10, "RescaleSlope") as value:
        slope = "".join(_strings(value)[:1]).strip()
    if slope.startswith("-"):
        return "its rescale slope is below 0"
    with _reading(part10, "ModalityLUTSequence") as value:
        return "its modality LUT descends" if value and _descends(value[0].get("LUTData")) else ""


def _descends(table: bytes | Sequence[int] | None) -> bool:
    """Of LUT Data (0028,3006), which a file holds as numbers or, with the VR OW, as bytes of 16-bit words."""
    if isinstance(table, bytes):
        table = [int.from_bytes(table[at:][:2], "little") for at in (0, len(table) - 2)] if len(table) > 1 else None
    return isinstance(table, Sequence) and len(table) > 1 and table[-1] < table[0]


def _strings(value: object) -> tuple[str, ...]:
    return () if value is None else tuple(map(str, value if isinstance(value, MultiValue) else (value,)))


@contextmanager
def _reading(part10: Path, keyword: str) -> Iterator[Any]:
    """An element's value, or None. What cannot be read in the block is an InvalidHeader that names the element."""
    with invalid_header(f"{Tag(keyword)} {dictionary_description(keyword)}"):
        yield dcmread(part10, specific_tags=[keyword], stop_before_pixels=True).get(keyword)
