"""The elements of a header, read in microseconds where it is plain; pydicom reads all others.

Plain is: little endian, ascending tags, known VRs, lengths that fit. Whatever pydicom might take another way is
`NotPlain`, so that both readers always agree.
"""

import struct
from collections.abc import Container
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
_FILE_META_GROUP = b"\2\0"
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

_EXPLICIT_HEAD, _IMPLICIT_HEAD = struct.Struct("<HH2sH"), struct.Struct("<HHI")
_LONG_LENGTH = struct.Struct("<I")
_LONG_HEAD_BYTES = 12


class NotPlain(Exception):
    """pydicom has to read this one."""


class _Head(NamedTuple):
    """Of an element: all that precedes its value."""

    tag: int
    vr: bytes  # empty in Implicit VR
    length: int
    end: int  # where the value begins in the file


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
    read = _implicit_head if transfer_syntax == ImplicitVRLittleEndian.encode() else _explicit_head
    if read is _implicit_head and window.size > at and window.look(at, 8)[4:6].isalpha():
        raise NotPlain  # pydicom asks whether that is a VR
    found: dict[int, bytes] = {}
    filled: set[int] = set()
    last = (_FIRST_GROUP << 16) - 1
    for _ in range(_MOST_ELEMENTS):
        if at == window.size:
            return PlainElements(transfer_syntax, found, frozenset(filled), has_pixels=False)
        head = read(window, at)
        tag, _, length, at = head
        if not last < tag < _FIRST_DELIMITER:
            raise NotPlain
        if tag in pixels:
            return PlainElements(transfer_syntax, found, frozenset(filled), length > 0)
        if length == _UNDEFINED or length > window.size - at:
            raise NotPlain
        if tag in texts:
            found[tag] = _text(window, head)
        elif tag in sequences and length:
            filled.add(tag)
        elif tag == _SPECIFIC_CHARACTER_SET:
            _require_known_character_set(_text(window, head))
        at, last = at + length, tag
    raise NotPlain


class _Window:
    """A piece of the file, read again where the next element is not in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self.size = file.seek(0, SEEK_END) - self._start
        self.bytes, self.at = b"", 0

    def look(self, at: int, count: int) -> bytes:
        """These bytes of the file. Raises NotPlain where it ends before."""
        begin = self.offset(at, count)
        if begin + count > len(self.bytes):
            raise NotPlain
        return self.bytes[begin : begin + count]

    def offset(self, at: int, count: int) -> int:
        """Where in `bytes` this place of the file is; so many bytes follow, unless the file ends before."""
        begin = at - self.at
        if begin < 0 or begin + count > len(self.bytes):
            self._file.seek(self._start + at)
            self.bytes, self.at = self._file.read(max(_WINDOW_BYTES, count)), at
            begin = 0
        return begin


def _read_meta(window: _Window) -> tuple[bytes, int]:
    """The transfer syntax, and where the data set begins (PS3.10 7.1)."""
    if window.look(_META_OFFSET - len(_PREFIX), len(_PREFIX)) != _PREFIX:
        raise NotPlain
    at, syntax = _META_OFFSET, b""
    while at != window.size:
        if window.look(at, 2) != _FILE_META_GROUP:
            break
        head = _explicit_head(window, at)
        if head.length > window.size - head.end or (head.vr not in _META_VRS and (head.vr, head.length) != (b"UL", 4)):
            raise NotPlain
        if head.tag == _TRANSFER_SYNTAX_UID:
            syntax = _text(window, head).rstrip(b"\0 ")
        at = head.end + head.length
    if not _is_usual(syntax):
        raise NotPlain
    return syntax, at


def _is_usual(transfer_syntax: bytes) -> bool:
    uid = transfer_syntax.decode("latin-1")
    return uid.startswith(_STANDARD_UID_ROOT) and uid not in _OTHER_ENCODINGS and len(uid) <= 64


def _implicit_head(window: _Window, at: int) -> _Head:
    begin = window.offset(at, _IMPLICIT_HEAD.size)
    if begin + _IMPLICIT_HEAD.size > len(window.bytes):
        raise NotPlain
    group, number, length = _IMPLICIT_HEAD.unpack_from(window.bytes, begin)
    return _Head(group << 16 | number, b"", length, at + _IMPLICIT_HEAD.size)


def _explicit_head(window: _Window, at: int) -> _Head:
    begin = window.offset(at, _LONG_HEAD_BYTES)
    if begin + _EXPLICIT_HEAD.size > len(window.bytes):
        raise NotPlain
    group, number, vr, length = _EXPLICIT_HEAD.unpack_from(window.bytes, begin)
    if vr not in _VRS:
        raise NotPlain
    if vr not in _LONG_VRS:
        return _Head(group << 16 | number, vr, length, at + _EXPLICIT_HEAD.size)
    if begin + _LONG_HEAD_BYTES > len(window.bytes):
        raise NotPlain
    length = _LONG_LENGTH.unpack_from(window.bytes, begin + _EXPLICIT_HEAD.size)[0]
    return _Head(group << 16 | number, vr, length, at + _LONG_HEAD_BYTES)


def _text(window: _Window, head: _Head) -> bytes:
    if head.length > _LONGEST_VALUE_BYTES or (head.vr and head.vr not in _TEXT_VRS):
        raise NotPlain
    return window.look(head.end, head.length)


def _require_known_character_set(value: bytes) -> None:
    if any(name.strip(b"\0 ") not in _CHARACTER_SETS for name in value.split(b"\\")):
        raise NotPlain
