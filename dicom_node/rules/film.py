"""What a rule can ask of a film: words of its header, who sent it, and the procedure that was ordered."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_node.pydicom_faults import invalid_header

_LONGEST_VALUE = 256  # characters; an LO has 64 (PS3.5 6.2), and senders write longer ones


class Element(StrEnum):
    """What a rule can name in `when`."""

    MODALITY = "modality"  # (0008,0060)
    BODY_PART = "body_part"  # (0018,0015), or of the code in (0008,2218)
    VIEW_POSITION = "view_position"  # (0018,5101), or of the code in (0054,0220)
    CALLING_AE = "calling_ae"  # of the association that it came on, or the name of a STOW client
    STATION_NAME = "station_name"  # (0008,1010)
    INSTITUTION_NAME = "institution_name"  # (0008,0080)
    STUDY_DESCRIPTION = "study_description"  # (0008,1030)
    SERIES_DESCRIPTION = "series_description"  # (0008,103E)
    PROCEDURE_CODE = "procedure_code"  # OBR-4.1 of its order; (0008,1032) and (0032,1064) of the film

    @property
    def spoken(self) -> str:
        return self.value.replace("_", " ").replace(" ae", " AE")


# The values of each element; none where the film is silent.
Film = Mapping[Element, tuple[str, ...]]

_TEXTS = {
    Element.STATION_NAME: "StationName",
    Element.INSTITUTION_NAME: "InstitutionName",
    Element.STUDY_DESCRIPTION: "StudyDescription",
    Element.SERIES_DESCRIPTION: "SeriesDescription",
}
_REQUESTS, _CODES = "RequestAttributesSequence", ("ProcedureCodeSequence", "RequestedProcedureCodeSequence")


def read_film(
    part10: Path, *, modality: str, body_part: str, view_position: str, calling_ae: str, ordered_code: str = ""
) -> Film:
    """What the node remembers of a film, as it does, and what its file says beyond that.

    Raises InvalidHeader where the file cannot be read, OSError where the disk fails.
    """
    ds = _read(part10)
    stated = {element: _values(ds, keyword) for element, keyword in _TEXTS.items()} | {
        Element.MODALITY: (modality,),
        Element.BODY_PART: (body_part,),
        Element.VIEW_POSITION: (view_position,),
        Element.CALLING_AE: (calling_ae,),
        Element.PROCEDURE_CODE: tuple(dict.fromkeys((ordered_code, *_codes(ds)))),
    }
    return {element: tuple(filter(None, values)) for element, values in stated.items()}


def _read(part10: Path) -> Dataset:
    tags = ["SpecificCharacterSet", *_TEXTS.values(), *_CODES, _REQUESTS]
    with invalid_header():
        ds = dcmread(part10, specific_tags=tags, stop_before_pixels=True)
        ds.decode()  # pydicom parses late: here, where errors are looked for
        return ds


def _codes(ds: Dataset) -> Iterator[str]:
    places = (ds, *_items(ds, _REQUESTS))
    return (_text(item, "CodeValue") for place in places for keyword in _CODES for item in _items(place, keyword))


def _items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    value = ds.get(keyword)
    return tuple(value) if isinstance(value, Sequence) else ()


def _text(ds: Dataset, keyword: str) -> str:
    return "".join(_values(ds, keyword)[:1])


def _values(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Each on one line, printable signs alone."""
    value = ds.get(keyword)
    return tuple(map(_line, value if isinstance(value, MultiValue) else (value,)))


def _line(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return "".join(filter(str.isprintable, text)).strip()[:_LONGEST_VALUE]
