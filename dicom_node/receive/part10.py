"""What a Part 10 file begins with: preamble, prefix and file meta information (PS3.10 7.1)."""

import struct

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_node.receive.announcement import Announcement

_VERSION = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\0\1")


def file_prefix(announced: Announcement) -> bytes:
    """All that precedes the data set, Explicit VR Little Endian."""
    group = b"".join(
        (
            _VERSION,
            _element(0x0002, b"UI", announced.sop_class_uid),
            _element(0x0003, b"UI", announced.sop_instance_uid),
            _element(0x0010, b"UI", announced.transfer_syntax_uid),
            _element(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID),
            _element(0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION),
        )
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(group)) + group


def _element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("latin-1", "replace")
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value
