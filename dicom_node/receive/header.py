"""What the node remembers of a received object: identifiers, and the few words that selection looks at.

Values are taken as the bytes received, not through pydicom's conversions: those warn with the value, which may be a
patient's name, and depend on a character set that none of these elements needs.
"""

import itertools
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import dictionary_description
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicom_node.errors import InvalidHeader, OutsideStudy

TRANSFER_SYNTAX_UID = BaseTag(0x00020010)
SOP_CLASS_UID = BaseTag(0x00080016)
SOP_INSTANCE_UID = BaseTag(0x00080018)
MODALITY = BaseTag(0x00080060)
PRESENTATION_INTENT_TYPE = BaseTag(0x00080068)
MANUFACTURER = BaseTag(0x00080070)
CODE_VALUE = BaseTag(0x00080100)
CODE_MEANING = BaseTag(0x00080104)
ANATOMIC_REGION_SEQUENCE = BaseTag(0x00082218)
PATIENT_ID = BaseTag(0x00100020)
ISSUER_OF_PATIENT_ID = BaseTag(0x00100021)
BODY_PART_EXAMINED = BaseTag(0x00180015)
VIEW_POSITION = BaseTag(0x00185101)
STUDY_INSTANCE_UID = BaseTag(0x0020000D)
SERIES_INSTANCE_UID = BaseTag(0x0020000E)
BURNED_IN_ANNOTATION = BaseTag(0x00280301)
VIEW_CODE_SEQUENCE = BaseTag(0x00540220)
# PS3.3 C.7.6.3 and C.7.6.24: Float, Double Float and integer Pixel Data
PIXEL_DATA_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

# PS3.16 CID 4009 (DX anatomy). SRT and SNM3 share the codes that begin with a letter.
BODY_PART_OF_CODE = {
    "51185008": "CHEST",  # SCT
    "816094009": "CHEST",  # SCT, since 2020
    "T-D3000": "CHEST",  # SRT
    "39607008": "LUNG",  # SCT
    "T-28000": "LUNG",  # SRT
}
# PS3.16 CID 4010 (DX view), as the defined terms of (0018,5101) in PS3.3 C.8.1.2 where there is one.
VIEW_OF_CODE = {
    "272479007": "PA",  # SCT
    "R-10214": "PA",  # SRT
    "R-40888": "PA",  # SRT
    "399348003": "AP",  # SCT
    "R-10206": "AP",  # SRT
    "399033003": "FRONTAL",  # SCT
    "R-10202": "FRONTAL",  # SRT
    "399173006": "LL",  # SCT, left lateral
    "R-10236": "LL",  # SRT
    "399198007": "RL",  # SCT, right lateral
    "R-10232": "RL",  # SRT
    "399067008": "LATERAL",  # SCT
    "272478004": "LATERAL",  # SCT
    "R-102CD": "LATERAL",  # SRT
}

# What pydicom raises on data it cannot parse.
PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    MemoryError,
)

_WANTED = [
    SOP_CLASS_UID, SOP_INSTANCE_UID, MODALITY, PRESENTATION_INTENT_TYPE, MANUFACTURER, ANATOMIC_REGION_SEQUENCE,
    PATIENT_ID, ISSUER_OF_PATIENT_ID, BODY_PART_EXAMINED, VIEW_POSITION, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID,
    BURNED_IN_ANNOTATION, VIEW_CODE_SEQUENCE,
]  # fmt: skip
_LONGEST_VALUE_BYTES = 65_536  # a longer one is left unread: nothing here needs more, and a length may be a lie
_MOST_ELEMENTS = 65_536  # at the top level; a real header has hundreds
_MOST_INFLATED_BYTES = 256 * 1024 * 1024
_INFLATE_STEP_BYTES = 1024 * 1024
_LONGEST_WORD = 64  # PS3.5 6.2, VR LO; also keeps a row small
# PS3.5 9.1. Leading zeros in a component are forbidden there, but real senders write them.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PYDICOM = re.compile(r"pydicom(\..*)?$")


@dataclass(frozen=True)
class InstanceHeader:
    """The header of one object. Words are upper case and empty where the header is silent."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    patient_key: str  # SHA-256 of (0010,0020) and (0010,0021); empty without a Patient ID
    body_part: str
    view: str
    presentation_intent: str
    manufacturer: str
    burned_in_annotation: str
    has_pixels: bool


def read_header(part10: Path | BinaryIO) -> InstanceHeader:
    """Read the header of a Part 10 file up to, and not including, its pixel data.

    A stream is read from where it stands and left somewhere behind the header.
    Raises InvalidHeader for what is not a data set with valid identifiers (OutsideStudy if only those of study or
    series are wanting), OSError if the disk fails.
    """
    silence_pydicom()
    if isinstance(part10, Path):
        with part10.open("rb") as file:
            return _parsed(lambda: _header(file))
    return _parsed(lambda: _header(part10))


def refuse_deflate_bomb(data_set: bytes) -> None:
    """Raise InvalidHeader if a deflated data set (PS3.5 A.5) inflates to more than any image needs, or not at all.

    pydicom inflates all of it to read a header; here nothing is kept.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, data_set
    try:
        while rest and not inflater.eof:
            size += len(inflater.decompress(rest, _INFLATE_STEP_BYTES))
            rest = inflater.unconsumed_tail
            if size > _MOST_INFLATED_BYTES:
                raise InvalidHeader(f"data set inflates to more than {_MOST_INFLATED_BYTES} bytes")
    except zlib.error as error:
        raise InvalidHeader("data set cannot be inflated, expected a deflate stream") from error


def silence_pydicom() -> None:
    """Drop pydicom's warnings, which may quote values, for the whole process.

    A filter set once, because `warnings.catch_warnings` is not thread-safe.
    """
    wanted = ("ignore", None, Warning, _PYDICOM, 0)
    if wanted not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PYDICOM.pattern)


def _parsed(read: Callable[[], InstanceHeader]) -> InstanceHeader:
    try:
        return read()
    except PARSE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        raise InvalidHeader(f"data set cannot be parsed ({type(error).__name__}), expected DICOM Part 10") from error


def _header(file: BinaryIO) -> InstanceHeader:
    ds, file_meta, has_pixels = _read_before_pixels(file)
    return InstanceHeader(
        sop_class_uid=_uid(ds, SOP_CLASS_UID),
        sop_instance_uid=_uid(ds, SOP_INSTANCE_UID),
        study_instance_uid=_uid(ds, STUDY_INSTANCE_UID, OutsideStudy),
        series_instance_uid=_uid(ds, SERIES_INSTANCE_UID, OutsideStudy),
        transfer_syntax_uid=_uid(file_meta, TRANSFER_SYNTAX_UID),
        modality=_word(ds, MODALITY),
        patient_key=_patient_key(ds),
        body_part=_word(ds, BODY_PART_EXAMINED) or _coded_word(ds, ANATOMIC_REGION_SEQUENCE, BODY_PART_OF_CODE),
        view=_word(ds, VIEW_POSITION) or _coded_word(ds, VIEW_CODE_SEQUENCE, VIEW_OF_CODE),
        presentation_intent=_word(ds, PRESENTATION_INTENT_TYPE),
        manufacturer=_word(ds, MANUFACTURER),
        burned_in_annotation=_word(ds, BURNED_IN_ANNOTATION),
        has_pixels=has_pixels,
    )


def _read_before_pixels(file: BinaryIO) -> tuple[Dataset, Dataset, bool]:
    """The wanted elements, the file meta information, and whether pixel data of some length follows."""
    met: list[int] = []
    count = itertools.count(1)

    def at_pixel_data(tag: BaseTag, _: str | None, length: int) -> bool:
        if next(count) > _MOST_ELEMENTS:
            raise InvalidHeader(f"data set has more than {_MOST_ELEMENTS} elements, expected an image's header")
        if tag in PIXEL_DATA_TAGS:
            met.append(length)
        return tag in PIXEL_DATA_TAGS

    ds = read_partial(file, at_pixel_data, defer_size=_LONGEST_VALUE_BYTES, specific_tags=list(_WANTED))
    return ds, ds.file_meta, any(met)


def _uid(ds: Dataset, tag: BaseTag, error: type[InvalidHeader] = InvalidHeader) -> str:
    uid = _text(ds, tag)
    name = f"{tag} {dictionary_description(tag)}"
    if not uid:
        raise error(f"{name} is missing or empty, expected a UID")
    if len(uid) > 64:
        raise error(f"{name} has {len(uid)} characters, expected 1–64")
    if not _UID.fullmatch(uid):
        # Not quoted: what is no UID may be anything, a name too.
        raise error(f"{name} is not a UID, expected digits and single dots")
    return uid


def _patient_key(ds: Dataset) -> str:
    patient_id = _text(ds, PATIENT_ID)
    if not patient_id:
        return ""
    return sha256(f"{patient_id}\x1f{_text(ds, ISSUER_OF_PATIENT_ID)}".encode()).hexdigest()


def _coded_word(ds: Dataset, sequence: BaseTag, word_of_code: dict[str, str]) -> str:
    """The word of the first item's code, else its meaning."""
    item = _first_item(ds, sequence)
    return word_of_code.get(_text(item, CODE_VALUE)) or _word(item, CODE_MEANING)


def _first_item(ds: Dataset, sequence: BaseTag) -> Dataset:
    if sequence not in ds or ds.get_item(sequence, keep_deferred=True).value is None:
        return Dataset()
    items = ds[sequence].value
    return items[0] if isinstance(items, Sequence) and items else Dataset()


def _word(ds: Dataset, tag: BaseTag) -> str:
    """The first value in upper case, blanks single."""
    return " ".join(_text(ds, tag).split("\\")[0].upper().split())[:_LONGEST_WORD]


def _text(ds: Dataset, tag: BaseTag) -> str:
    """The element's bytes as text without padding, empty where absent. Characters a database refuses are dropped."""
    if tag not in ds:
        return ""
    element = ds.get_item(tag, keep_deferred=True)
    value = element.value
    if isinstance(value, bytes) and isinstance(element, RawDataElement) and len(value) < element.length:
        raise InvalidHeader(f"{tag} ends after {len(value)} of {element.length} bytes, expected a whole data set")
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return "".join(character for character in text if character.isprintable()).strip()
