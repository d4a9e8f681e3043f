"""What a file says it is: by its file meta information (PS3.10 7.1), or by its first elements where they are clear."""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from dicom_node.errors import InvalidHeader, Permanent
from dicom_node.pydicom_faults import PARSE_ERRORS, silence_pydicom
from dicom_node.receive.header import PIXEL_DATA_TAGS, SOP_CLASS_UID, SOP_INSTANCE_UID
from dicom_node.uids import LONGEST_UID

HEAD_BYTES = 64 * 1024  # of a file: holds all that is looked at here

_PREFIX, _PREAMBLE_BYTES = b"DICM", 128
_META_GROUP, _IDENTIFYING_GROUP, _IDENTIFYING_GROUP_BIG_ENDIAN = b"\2\0", b"\x08\0", b"\0\x08"
_MEDIA_STORAGE_SOP_CLASS_UID, _TRANSFER_SYNTAX_UID = 0x0002, 0x0010
_UNDEFINED = 0xFFFFFFFF
_LONGEST_VALUE_BYTES = 1024  # a longer one is passed over
_VRS = frozenset(vr.encode() for vr in STANDARD_VR)
_LONG_VRS = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)


class NoObject(Permanent):
    """A file that is no DICOM object: it is left out."""


@dataclass(frozen=True)
class Recognised:
    """What there is to know of an object before it is received."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_at: int  # where in the file it begins
    is_guessed: bool  # the file does not state its transfer syntax


def recognise(head: bytes) -> Recognised:
    """Tell from a file's first HEAD_BYTES what it is.

    The object is named by its data set, as all senders do; file meta information is often left behind by editors.
    Raises NoObject for what is no DICOM object, InvalidHeader for one that cannot be told.
    """
    prefix_end = _prefix_end(head)
    meta, at = _read_meta(head, prefix_end)
    if meta.get(_MEDIA_STORAGE_SOP_CLASS_UID) == MediaStorageDirectoryStorage:
        raise NoObject("a DICOMDIR")
    stated = meta.get(_TRANSFER_SYNTAX_UID, "")
    syntax = stated or _syntax_of(head[at:], is_dicom=at > 0)
    uids = _identifiers(head[at:], syntax)
    return Recognised(*uids, transfer_syntax_uid=syntax, data_set_at=at, is_guessed=not stated)


def is_dicomdir(head: bytes) -> bool:
    """Whether a file that begins so is a DICOMDIR (PS3.10 8.6)."""
    try:
        meta, _ = _read_meta(head, _prefix_end(head))
    except (InvalidHeader, NoObject):
        return False
    return meta.get(_MEDIA_STORAGE_SOP_CLASS_UID) == MediaStorageDirectoryStorage


def refuse_unnamed_compression(data_set: BinaryIO) -> None:
    """Raise InvalidHeader if the pixel data of an Explicit VR Little Endian data set is encapsulated (PS3.5 A.4).

    How it is compressed, only a transfer syntax says.
    """
    lengths: list[int] = []

    def at_pixel_data(tag: BaseTag, _: str | None, length: int) -> bool:
        if tag in PIXEL_DATA_TAGS:
            lengths.append(length)
        return tag in PIXEL_DATA_TAGS

    silence_pydicom()
    try:
        read_dataset(data_set, False, True, stop_when=at_pixel_data, specific_tags=[SOP_INSTANCE_UID])
    except PARSE_ERRORS as error:
        raise InvalidHeader(f"data set cannot be parsed ({type(error).__name__})") from error
    if _UNDEFINED in lengths:
        raise InvalidHeader("its pixel data is compressed, and no file meta information says how")


def _prefix_end(head: bytes) -> int:
    """Where the file meta information begins; 0 where nothing marks the file as DICOM."""
    if head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_PREFIX)] == _PREFIX:
        return _PREAMBLE_BYTES + len(_PREFIX)
    return len(_PREFIX) if head.startswith(_PREFIX) else 0  # some leave the preamble out


def _read_meta(head: bytes, at: int) -> tuple[dict[int, str], int]:
    """Values of group 0002 by element number, and where the group ends. It is always Explicit VR Little Endian."""
    is_marked, meta = at > 0, {}
    while head[at : at + 2] == _META_GROUP:
        number, vr, length = struct.unpack_from("<2xH2sH", head.ljust(at + 8, b"\0"), at)
        if vr not in _VRS:
            if not is_marked:
                raise NoObject("not DICOM")
            raise InvalidHeader(f"(0002,{number:04X}) of the file meta information has no VR")
        value_at = at + 8
        if vr in _LONG_VRS:
            (length,), value_at = struct.unpack("<I", head[at + 8 : at + 12].ljust(4, b"\0")), at + 12
        at = value_at + length
        if at > len(head):
            raise InvalidHeader(f"(0002,{number:04X}) of the file meta information goes beyond byte {len(head)}")
        meta[number] = head[value_at:at].rstrip(b"\0 ").decode("latin-1")
    return meta, at


def _syntax_of(data_set: bytes, *, is_dicom: bool) -> str:
    """The transfer syntax that the first element is written in (PS3.5 7.1)."""
    has_vr = data_set[4:6] in _VRS
    if data_set.startswith(_IDENTIFYING_GROUP):
        return ExplicitVRLittleEndian if has_vr else ImplicitVRLittleEndian
    if data_set.startswith(_IDENTIFYING_GROUP_BIG_ENDIAN) and has_vr:
        return ExplicitVRBigEndian
    if is_dicom:
        raise InvalidHeader("no transfer syntax is stated, and the data set does not begin with group 0008")
    raise NoObject("not DICOM")


def _identifiers(data_set: bytes, syntax: str) -> tuple[str, str]:
    """SOP Class and SOP Instance UID of a data set of which this is the beginning."""
    silence_pydicom()
    is_implicit, is_little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            data_set = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, HEAD_BYTES)
        ds = read_dataset(
            BytesIO(data_set), is_implicit, is_little,
            stop_when=lambda tag, *_: tag > SOP_INSTANCE_UID, defer_size=_LONGEST_VALUE_BYTES,
            specific_tags=[SOP_CLASS_UID, SOP_INSTANCE_UID],
        )  # fmt: skip
        values = [_text(ds.get_item(tag)) for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID)]
    except PARSE_ERRORS as error:
        raise InvalidHeader(f"data set cannot be parsed ({type(error).__name__})") from error
    if not all(0 < len(value) <= LONGEST_UID for value in values):
        raise InvalidHeader("no SOP Class UID and SOP Instance UID at the beginning of the data set")
    return values[0], values[1]


def _text(element: object) -> str:
    value = getattr(element, "value", None)
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ")
