"""The elements of a header, read in microseconds where it is plain; pydicom reads all others.

Plain is: little endian, ascending tags, known VRs, lengths that fit. Whatever pydicom might take another way is
`NotPlain`, so that both readers always agree.
"""

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO, NamedTuple

from pydicom.charset import python_encoding
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

_WINDOW_BYTES = 16 * 1024  # holds most headers whole
_LONGEST_VALUE_BYTES = 1024
_MOST_ELEMENTS = 4_096
_UNDEFINED = 0xFFFFFFFF
_FIRST_GROUP = 0x0008  # below it: no data set
_FIRST_DELIMITER = 0xFFFE0000  # PS3.5 7.5: items and their ends, which do not belong at the top level
_SPECIFIC_CHARACTER_SET = 0x00080005
_FILE_META_GROUP = 0x0002
_TRANSFER_SYNTAX_UID = 0x00020010
_PREFIX = b"DICM"
_META_OFFSET = 132
_STANDARD_UID_ROOT = "1.2.840.10008."
_OTHER_ENCODINGS = frozenset({ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian})
_VRS = frozenset(vr.encode() for vr in STANDARD_VR)
_LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_TEXT_VRS = frozenset({b"CS", b"LO", b"SH", b"UI"})
_CHARACTER_SETS = frozenset(name.encode() for name in python_encoding)

_META_VRS = frozenset({b"AE", b"OB", b"SH", b"UI"})

_group = struct.Struct("<H").unpack
_tag_and_length = struct.Struct("<HHI").unpack
_tag_vr_and_length = struct.Struct("<HH2sH").unpack
_long_length = struct.Struct("<I").unpack


class NotPlain(Exception):
    """pydicom has to read this one."""


class _Element(NamedTuple):
    tag: int
    vr: bytes  # empty in Implicit VR
    length: int
    at: int  # where its value begins in the file


@dataclass(frozen=True)
class PlainElements:
    """What was wanted of a header."""

    transfer_syntax_uid: bytes
    texts: dict[int, bytes]
    sequences: frozenset[int]  # those of the wanted that are there and not empty
    has_pixels: bool


def read_plain_elements(
    file: BinaryIO, *, texts: Container[int], sequences: Container[int], pixels: Container[int]
) -> PlainElements:
    """Read a Part 10 file from where it stands up to its pixel data. Raises NotPlain."""
    window = _Window(file)
    transfer_syntax, at = _read_meta(window)
    found: dict[int, bytes] = {}
    filled: set[int] = set()
    for element in _elements(window, at, is_implicit=transfer_syntax == ImplicitVRLittleEndian.encode()):
        if element.tag in pixels:
            return PlainElements(transfer_syntax, found, frozenset(filled), element.length > 0)
        window.skip(element)
        if element.tag in texts:
            found[element.tag] = _text(window, element)
        elif element.tag in sequences and element.length:
            filled.add(element.tag)
        elif element.tag == _SPECIFIC_CHARACTER_SET:
            _require_known_character_set(_text(window, element))
    return PlainElements(transfer_syntax, found, frozenset(filled), has_pixels=False)


class _Window:
    """A piece of the file, read again where the next element is not in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self.size = file.seek(0, SEEK_END) - self._start
        self._bytes, self._at = b"", 0

    def look(self, at: int, count: int) -> bytes:
        """These bytes of the file. Raises NotPlain where it ends before."""
        begin = at - self._at
        if begin < 0 or begin + count > len(self._bytes):
            if at + count > self.size:
                raise NotPlain
            self._file.seek(self._start + at)
            self._bytes, self._at = self._file.read(max(_WINDOW_BYTES, count)), at
            begin = 0
        return self._bytes[begin : begin + count]

    def skip(self, element: _Element) -> None:
        """Raise NotPlain if the value has no length or goes beyond the file."""
        if element.length == _UNDEFINED or element.at + element.length > self.size:
            raise NotPlain


def _read_meta(window: _Window) -> tuple[bytes, int]:
    """The transfer syntax, and where the data set begins (PS3.10 7.1)."""
    if window.look(_META_OFFSET - len(_PREFIX), len(_PREFIX)) != _PREFIX:
        raise NotPlain
    at, syntax = _META_OFFSET, b""
    while at != window.size and _group(window.look(at, 2))[0] == _FILE_META_GROUP:
        element = _explicit_element(window, at)
        window.skip(element)
        if element.vr not in _META_VRS and (element.vr, element.length) != (b"UL", 4):
            raise NotPlain
        if element.tag == _TRANSFER_SYNTAX_UID:
            syntax = _text(window, element).rstrip(b"\0 ")
        at = element.at + element.length
    if not _is_usual(syntax):
        raise NotPlain
    return syntax, at


def _is_usual(transfer_syntax: bytes) -> bool:
    uid = transfer_syntax.decode("latin-1")
    return uid.startswith(_STANDARD_UID_ROOT) and uid not in _OTHER_ENCODINGS and len(uid) <= 64


def _elements(window: _Window, at: int, *, is_implicit: bool) -> Iterator[_Element]:
    """The top-level elements of a data set, in ascending order."""
    if is_implicit and window.size > at and window.look(at, 8)[4:6].isalpha():
        raise NotPlain  # pydicom asks whether that is a VR
    read = _implicit_element if is_implicit else _explicit_element
    last = (_FIRST_GROUP << 16) - 1
    for _ in range(_MOST_ELEMENTS):
        if at == window.size:
            return
        element = read(window, at)
        if element.tag <= last or element.tag >= _FIRST_DELIMITER:
            raise NotPlain
        yield element
        at, last = element.at + element.length, element.tag
    raise NotPlain


def _implicit_element(window: _Window, at: int) -> _Element:
    group, number, length = _tag_and_length(window.look(at, 8))
    return _Element(group << 16 | number, b"", length, at + 8)


def _explicit_element(window: _Window, at: int) -> _Element:
    group, number, vr, length = _tag_vr_and_length(window.look(at, 8))
    if vr not in _VRS:
        raise NotPlain
    if vr not in _LONG_VRS:
        return _Element(group << 16 | number, vr, length, at + 8)
    return _Element(group << 16 | number, vr, _long_length(window.look(at + 8, 4))[0], at + 12)


def _text(window: _Window, element: _Element) -> bytes:
    if element.length > _LONGEST_VALUE_BYTES or (element.vr and element.vr not in _TEXT_VRS):
        raise NotPlain
    return window.look(element.at, element.length)


def _require_known_character_set(value: bytes) -> None:
    if any(name.strip(b"\0 ") not in _CHARACTER_SETS for name in value.split(b"\\")):
        raise NotPlain
