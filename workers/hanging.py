"""Whether a film is stored as it hangs and as the model's training films were: the patient's left on its right."""

import re
from pathlib import Path

from pydicom import dcmread

from dicom_node.errors import InvalidHeader
from dicom_node.receive.header import PARSE_ERRORS, silence_pydicom

_DIRECTIONS = re.compile(r"[LRAPHF]{1,3}\\[LRAPHF]{1,3}")  # of rows and of columns, PS3.3 C.7.6.1.1.1
_AS_IT_HANGS = ("L", "F")  # to the patient's left, to the feet


def turned(part10: Path) -> str:
    """How the film is stored, if its Patient Orientation (0020,0020) says that it is mirrored or turned; else empty.

    Such a film would be read with left for right. A header that is silent is believed to mean the usual.
    Raises InvalidHeader where the element cannot be read, OSError where the disk fails.
    """
    words = _orientation(part10)
    if not words.strip("\\ "):
        return ""
    if not _DIRECTIONS.fullmatch(words):
        return "its orientation is not in letters"
    rows, columns = words.split("\\")
    return "" if (rows[0], columns[0]) == _AS_IT_HANGS else f"rows to {rows}, columns to {columns}"


def _orientation(part10: Path) -> str:
    silence_pydicom()
    try:
        ds = dcmread(part10, specific_tags=["PatientOrientation"], stop_before_pixels=True)
        value = ds.get("PatientOrientation") or ()
        return value if isinstance(value, str) else "\\".join(map(str, value))
    except PARSE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        raise InvalidHeader(f"(0020,0020) Patient Orientation cannot be read ({type(error).__name__})") from error
