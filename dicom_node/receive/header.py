"""What the node remembers of a received object: identifiers, and the few words that selection looks at.

Values are taken as the bytes received, not through pydicom's conversions: those warn with the value, which may be a
patient's name, and depend on a character set that none of these elements needs.
"""

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, cast

from pydicom.datadict import dictionary_description
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicom_node.errors import InvalidHeader, OutsideStudy
from dicom_node.pydicom_faults import invalid_header
from dicom_node.receive.coded_words import BODY_PART_OF_CODE, VIEW_OF_CODE
from dicom_node.receive.cut_short import refuse_cut_short
from dicom_node.receive.plain_elements import NotPlain, Readable, read_plain_elements
from dicom_node.uids import LONGEST_UID, is_uid

TRANSFER_SYNTAX_UID = BaseTag(0x00020010)
SOP_CLASS_UID = BaseTag(0x00080016)
SOP_INSTANCE_UID = BaseTag(0x00080018)
ACCESSION_NUMBER = BaseTag(0x00080050)
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

_TEXTS = frozenset(
    {
        SOP_CLASS_UID, SOP_INSTANCE_UID, MODALITY, PRESENTATION_INTENT_TYPE, MANUFACTURER, PATIENT_ID,
        ISSUER_OF_PATIENT_ID, BODY_PART_EXAMINED, VIEW_POSITION, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID,
        BURNED_IN_ANNOTATION, ACCESSION_NUMBER,
    }
)  # fmt: skip
_TEXT_NUMBERS = frozenset(map(int, _TEXTS))  # a BaseTag compares itself in Python, which costs more than the reading
_SEQUENCES = frozenset({ANATOMIC_REGION_SEQUENCE, VIEW_CODE_SEQUENCE})
_LONGEST_VALUE_BYTES = 65_536  # a longer one is left unread: nothing here needs more, and a length may be a lie
_MOST_ELEMENTS = 65_536  # at the top level; a real header has hundreds
_MOST_READ_BYTES = 64 * 1024 * 1024  # of a header; what is skipped does not count
_LONGEST_WORD = 64  # PS3.5 6.2, VR LO; also keeps a row small


@dataclass(frozen=True)
class InstanceHeader:
    """The header of one object. Words are upper case and empty where the header is silent."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    accession_number: str = field(repr=False)
    patient_id: str = field(repr=False)
    issuer_of_patient_id: str = field(repr=False)
    patient_key: str  # SHA-256 of (0010,0020) and (0010,0021); empty without a Patient ID
    body_part: str
    view: str
    presentation_intent: str
    manufacturer: str
    burned_in_annotation: str
    has_pixels: bool


def read_header(part10: Readable) -> InstanceHeader:
    """Read the header of a Part 10 file up to, and not including, its pixel data.

    It is read from where it stands and left somewhere behind the header.
    Raises InvalidHeader for what is not a data set with valid identifiers (OutsideStudy if only those of study or
    series are wanting) or is cut short, OSError if the disk fails.
    """
    start = part10.tell()
    with suppress(NotPlain):
        return _header(_PlainSource(part10))
    part10.seek(start)
    return _read_by_pydicom(part10)


def _read_by_pydicom(part10: Readable) -> InstanceHeader:
    with invalid_header("data set"):
        return _header(_PydicomSource(part10))


def _header(source: "_PlainSource | _PydicomSource") -> InstanceHeader:
    patient_id, issuer = source.text(PATIENT_ID), source.text(ISSUER_OF_PATIENT_ID)
    return InstanceHeader(
        sop_class_uid=_uid(source.text(SOP_CLASS_UID), SOP_CLASS_UID),
        sop_instance_uid=_uid(source.text(SOP_INSTANCE_UID), SOP_INSTANCE_UID),
        study_instance_uid=_uid(source.text(STUDY_INSTANCE_UID), STUDY_INSTANCE_UID, OutsideStudy),
        series_instance_uid=_uid(source.text(SERIES_INSTANCE_UID), SERIES_INSTANCE_UID, OutsideStudy),
        transfer_syntax_uid=_uid(source.transfer_syntax_uid(), TRANSFER_SYNTAX_UID),
        modality=_word(source.text(MODALITY)),
        accession_number=source.text(ACCESSION_NUMBER),
        patient_id=patient_id,
        issuer_of_patient_id=issuer,
        patient_key=_patient_key(patient_id, issuer),
        body_part=_word(source.text(BODY_PART_EXAMINED))
        or source.coded_word(ANATOMIC_REGION_SEQUENCE, BODY_PART_OF_CODE),
        view=_word(source.text(VIEW_POSITION)) or source.coded_word(VIEW_CODE_SEQUENCE, VIEW_OF_CODE),
        presentation_intent=_word(source.text(PRESENTATION_INTENT_TYPE)),
        manufacturer=_word(source.text(MANUFACTURER)),
        burned_in_annotation=_word(source.text(BURNED_IN_ANNOTATION)),
        has_pixels=source.has_pixels,
    )


class _PlainSource:
    """A header that needs no pydicom. Raises NotPlain where it does."""

    def __init__(self, file: Readable) -> None:
        self._elements = read_plain_elements(file, texts=_TEXT_NUMBERS, sequences=_SEQUENCES, pixels=PIXEL_DATA_TAGS)
        self.has_pixels = self._elements.has_pixels

    def transfer_syntax_uid(self) -> str:
        return _printable(self._elements.transfer_syntax_uid)

    def text(self, tag: BaseTag) -> str:
        return _printable(self._elements.texts.get(int(tag), b""))

    def coded_word(self, sequence: BaseTag, _: dict[str, str]) -> str:
        if sequence in self._elements.sequences:
            raise NotPlain
        return ""


class _PydicomSource:
    """A header as pydicom sees it: the wanted elements, and whether pixel data of some length follows."""

    def __init__(self, file: Readable) -> None:
        met: list[int] = []
        count = itertools.count(1)

        def at_pixel_data(tag: BaseTag, _: str | None, length: int) -> bool:
            if next(count) > _MOST_ELEMENTS:
                raise InvalidHeader(f"data set has more than {_MOST_ELEMENTS} elements, expected an image's header")
            if not rationed.is_inflated:
                refuse_cut_short(file, length, is_pixels=tag in PIXEL_DATA_TAGS)
            if tag in PIXEL_DATA_TAGS:
                met.append(length)
            return tag in PIXEL_DATA_TAGS

        wanted: list[BaseTag | int] = [*_TEXTS, *_SEQUENCES]
        rationed = _Rationed(file)
        source = cast(BinaryIO, rationed)
        self._ds = read_partial(source, at_pixel_data, defer_size=_LONGEST_VALUE_BYTES, specific_tags=wanted)
        self.has_pixels = any(met)

    def transfer_syntax_uid(self) -> str:
        return _text(self._ds.file_meta, TRANSFER_SYNTAX_UID)

    def text(self, tag: BaseTag) -> str:
        return _text(self._ds, tag)

    def coded_word(self, sequence: BaseTag, word_of_code: dict[str, str]) -> str:
        """The word of the first item's code, else its meaning."""
        item = _first_item(self._ds, sequence)
        return word_of_code.get(_text(item, CODE_VALUE)) or _word(_text(item, CODE_MEANING))


class _Rationed:
    """A file of which only so much can be read: pydicom keeps whatever a header of undefined lengths holds."""

    def __init__(self, file: Readable) -> None:
        self.seek, self.tell = file.seek, file.tell
        self._file = file
        self._left = _MOST_READ_BYTES
        self.is_inflated = False  # pydicom reads on from a copy of its own

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # a deflated data set, which `refuse_deflate_bomb` has let pass
            self.is_inflated = True
            return self._file.read()
        if size > self._left:
            raise InvalidHeader(f"header is longer than {_MOST_READ_BYTES} bytes, expected an image's header")
        content = self._file.read(size)
        self._left -= len(content)
        return content


def _uid(uid: str, tag: BaseTag, error: type[InvalidHeader] = InvalidHeader) -> str:
    if is_uid(uid):
        return uid
    name = f"{tag} {dictionary_description(tag)}"
    if not uid:
        raise error(f"{name} is missing or empty, expected a UID")
    if len(uid) > LONGEST_UID:
        raise error(f"{name} has {len(uid)} characters, expected 1–{LONGEST_UID}")
    # Not quoted: what is no UID may be anything, a name too.
    raise error(f"{name} is not a UID, expected digits and single dots")


def as_number(text: str) -> str:
    """As a row keeps it: blanks single; empty where it is longer than an LO (PS3.5 6.2), half of it being another."""
    number = " ".join(text.split())
    return number if len(number) <= _LONGEST_WORD else ""


def _patient_key(patient_id: str, issuer: str) -> str:
    return sha256(f"{patient_id}\x1f{issuer}".encode()).hexdigest() if patient_id else ""


def _first_item(ds: Dataset, sequence: BaseTag) -> Dataset:
    if sequence not in ds or ds.get_item(sequence, keep_deferred=True).value is None:
        return Dataset()
    items = ds[sequence].value
    return items[0] if isinstance(items, Sequence) and items else Dataset()


def _word(text: str) -> str:
    """The first value in upper case, blanks single."""
    return " ".join(text.split("\\")[0].upper().split())[:_LONGEST_WORD]


def _text(ds: Dataset, tag: BaseTag) -> str:
    """The element's bytes as text without padding, empty where absent."""
    if tag not in ds:
        return ""
    element = ds.get_item(tag, keep_deferred=True)
    value = element.value
    if isinstance(value, bytes) and isinstance(element, RawDataElement) and len(value) < element.length:
        raise InvalidHeader(f"{tag} ends after {len(value)} of {element.length} bytes, expected a whole data set")
    return _printable(value)


def _printable(value: object) -> str:
    """The value as text, without what a database refuses; empty where it is neither bytes nor text."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    text = text.rstrip("\0")  # what most UIDs are padded with: then nothing has to be picked out
    if not text.isprintable():
        text = "".join(character for character in text if character.isprintable())
    return text.strip()
