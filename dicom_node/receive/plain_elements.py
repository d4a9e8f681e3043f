"""The elements of a header, read in microseconds where it is plain; pydicom reads all others.

Plain is: little endian, ascending tags, known VRs, lengths that fit. Whatever pydicom might take another way is
`NotPlain`, so that both readers always agree.
"""

import struct
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from io import SEEK_END
from typing import Protocol

from pydicom.charset import python_encoding
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from dicom_node.uids import LONGEST_UID

_WINDOW_BYTES = 16 * 1024  # holds most headers whole
_LONGEST_VALUE_BYTES = 1024
_MOST_ELEMENTS = 4_096
_UNDEFINED = 0xFFFFFFFF
_FIRST_GROUP = 0x0008  # below it: no data set
_FIRST_DELIMITER = 0xFFFE0000  # PS3.5 7.5: items and their ends, which do not belong at the top level
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0\0\0\0\0"  # PS3.5 A.4: after the last fragment of Pixel Data
_SPECIFIC_CHARACTER_SET = 0x00080005
_FILE_META_GROUP = b"\2\0"
_TRANSFER_SYNTAX_UID = 0x00020010
_PREFIX = b"DICM"
_META_OFFSET = 132
_STANDARD_UID_ROOT = "1.2.840.10008."
_OTHER_ENCODINGS = frozenset({ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian})
_TEXT_VRS = frozenset({b"CS", b"LO", b"SH", b"UI"})
_CHARACTER_SETS = frozenset(name.encode() for name in python_encoding)

_META_VRS = frozenset({b"AE", b"OB", b"SH", b"UI"})

_EXPLICIT_HEAD, _IMPLICIT_HEAD = struct.Struct("<HH2sH"), struct.Struct("<HHI")
_LONG_LENGTH = struct.Struct("<I")
_HEAD_BYTES, _LONG_HEAD_BYTES = 8, 12
_HEAD_BYTES_OF_VR = {vr.encode(): 12 if vr in EXPLICIT_VR_LENGTH_32 else 8 for vr in STANDARD_VR}  # PS3.5 7.1.2

# Of an element all that precedes its value: tag, VR (empty in Implicit VR), length of the value, bytes of the head.
_Head = tuple[int, bytes, int, int]


class Readable(Protocol):
    """Of a binary file what is needed to read one."""

    def tell(self) -> int: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def read(self, count: int = ..., /) -> bytes: ...


class NotPlain(Exception):
    """pydicom has to read this one."""


@dataclass(frozen=True)
class PlainElements:
    """What was wanted of a header."""

    transfer_syntax_uid: bytes
    texts: dict[int, bytes]
    sequences: frozenset[int]  # those of the wanted that are there and not empty
    has_pixels: bool


def read_plain_elements(
    file: Readable, *, texts: Container[int], sequences: Container[int], pixels: Container[int]
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
    for tag, vr, length, value_at in _elements(window, at, read):
        if not last < tag < _FIRST_DELIMITER:
            raise NotPlain
        last = tag
        if tag in pixels:
            if not window.ends_with(END_OF_SEQUENCE) if length == _UNDEFINED else length > window.size - value_at:
                raise NotPlain  # it may be cut short
            return PlainElements(transfer_syntax, found, frozenset(filled), length > 0)
        if tag in texts:
            found[tag] = _text(window, vr, length, value_at)
        elif tag in sequences and length:
            filled.add(tag)
        elif tag == _SPECIFIC_CHARACTER_SET:
            _require_known_character_set(_text(window, vr, length, value_at))
    return PlainElements(transfer_syntax, found, frozenset(filled), has_pixels=False)


class _Window:
    """A piece of the file, read again where the next element is not in it."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._start = file.tell()
        self.size = file.seek(0, SEEK_END) - self._start
        self.bytes, self.at = b"", 0

    def look(self, at: int, count: int) -> bytes:
        """These bytes of the file. Raises NotPlain where it ends before."""
        begin = at - self.at
        if begin < 0 or begin + count > len(self.bytes):
            self.move_to(at)
            begin = 0
        if count > len(self.bytes) - begin:
            raise NotPlain
        return self.bytes[begin : begin + count]

    def ends_with(self, content: bytes) -> bool:
        return self.look(max(0, self.size - len(content)), len(content)) == content

    def move_to(self, at: int) -> None:
        self._file.seek(self._start + at)
        self.bytes, self.at = self._file.read(_WINDOW_BYTES), at


def _read_meta(window: _Window) -> tuple[bytes, int]:
    """The transfer syntax, and where the data set begins (PS3.10 7.1)."""
    if window.look(_META_OFFSET - len(_PREFIX), len(_PREFIX)) != _PREFIX:
        raise NotPlain
    end, syntax = _META_OFFSET, b""
    for tag, vr, length, at in _elements(window, end, _meta_head):
        if vr not in _META_VRS and (vr, length) != (b"UL", 4):
            raise NotPlain
        if tag == _TRANSFER_SYNTAX_UID:
            syntax = _text(window, vr, length, at).rstrip(b"\0 ")
        end = at + length
    if not _is_usual(syntax):
        raise NotPlain
    return syntax, end


def _elements(
    window: _Window, at: int, read: Callable[[bytes, int], _Head | None]
) -> Iterator[tuple[int, bytes, int, int]]:
    """Tag, VR, length and place of one value after the other, to the end of the file or where `read` gives None."""
    for _ in range(_MOST_ELEMENTS):
        if at == window.size:
            return
        if not 0 <= at - window.at <= len(window.bytes) - _LONG_HEAD_BYTES:
            window.move_to(at)
        try:
            head = read(window.bytes, at - window.at)
        except struct.error:
            raise NotPlain from None  # the file ends within it
        if head is None:
            return
        tag, vr, length, head_bytes = head
        at += head_bytes
        yield tag, vr, length, at
        if length == _UNDEFINED or length > window.size - at:
            raise NotPlain
        at += length
    raise NotPlain


def _is_usual(transfer_syntax: bytes) -> bool:
    uid = transfer_syntax.decode("latin-1")
    return uid.startswith(_STANDARD_UID_ROOT) and uid not in _OTHER_ENCODINGS and len(uid) <= LONGEST_UID


def _meta_head(content: bytes, at: int) -> _Head | None:
    return _explicit_head(content, at) if content.startswith(_FILE_META_GROUP, at) else None


def _implicit_head(content: bytes, at: int) -> _Head:
    group, number, length = _IMPLICIT_HEAD.unpack_from(content, at)
    return group << 16 | number, b"", length, _HEAD_BYTES


def _explicit_head(content: bytes, at: int) -> _Head:
    group, number, vr, length = _EXPLICIT_HEAD.unpack_from(content, at)
    head_bytes = _HEAD_BYTES_OF_VR.get(vr)
    if head_bytes is None:
        raise NotPlain
    if head_bytes == _LONG_HEAD_BYTES:
        length = _LONG_LENGTH.unpack_from(content, at + _HEAD_BYTES)[0]
    return group << 16 | number, vr, length, head_bytes


def _text(window: _Window, vr: bytes, length: int, at: int) -> bytes:
    if length > _LONGEST_VALUE_BYTES or (vr and vr not in _TEXT_VRS):
        raise NotPlain
    return window.look(at, length)


def _require_known_character_set(value: bytes) -> None:
    if any(name.strip(b"\0 ") not in _CHARACTER_SETS for name in value.split(b"\\")):
        raise NotPlain
