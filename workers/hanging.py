"""Whether a film is stored as the model's training films were: the patient's left on its right, and no negative."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import dictionary_description
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from dicom_node.errors import InvalidHeader
from dicom_node.receive.header import PARSE_ERRORS, silence_pydicom
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
    words = "\\".join(_values(part10, "PatientOrientation"))
    if not words.strip("\\ "):
        return ""
    if not _DIRECTIONS.fullmatch(words):
        return "its orientation is not in letters"
    rows, columns = words.split("\\")
    return "" if (rows[0], columns[0]) == _AS_IT_HANGS else f"rows to {rows}, columns to {columns}"


def negative(part10: Path) -> str:
    """What says that the film is shown with dark for bright: a Rescale Slope (0028,1053) below 0; else empty.

    The training films were made without a rescale, of films that have none. Raises as `refuse`.
    """
    slope = "".join(_values(part10, "RescaleSlope")[:1]).strip()
    return "its rescale slope is below 0" if slope.startswith("-") else ""


def _values(part10: Path, keyword: str) -> Sequence[str]:
    silence_pydicom()
    try:
        value = dcmread(part10, specific_tags=[keyword], stop_before_pixels=True).get(keyword)
        return () if value is None else tuple(map(str, value if isinstance(value, MultiValue) else (value,)))
    except PARSE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        name = f"{Tag(keyword)} {dictionary_description(keyword)}"
        raise InvalidHeader(f"{name} cannot be read ({type(error).__name__})") from error
