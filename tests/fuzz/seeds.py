"""Inputs to begin with: what honest peers send, and with the published data there, what dishonest ones do."""

from collections.abc import Iterator

from films import SHARED_DATA, code_sequence, dx_bytes
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pydicom.valuerep import STANDARD_VR
from strangers import ECHO, RELEASE, STORE, element
from targets import _ANNOUNCED, _DEFLATED, _FILE, SYNTAXES

LONGEST = 2048
_META_BEGIN = 132  # PS3.10 7.1
_FIND = b"".join(element(*each) for each in ((2, b"1.2"), (0x100, b"\x20\0"), (0x110, b"\1\0"), (0x800, b"\1\0")))
_ASSOCIATE = bytes.fromhex("0001 0000") + b"CXRNODE".ljust(16) + b"FUZZ".ljust(16) + bytes(32)
# What a mutation is unlikely to find by itself.
WORDS = (
    *(vr.encode() for vr in STANDARD_VR), b"DICM",
    b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff", b"\xe0\x7f\x10\x00",
    b"\x08\0\x05\0", b"\x08\0\x16\0", b"\x08\0\x18\0", b"\x20\0\x0d\0", b"\x20\0\x0e\0", b"\x02\0\x10\0",
    b"\x08\0\x18\x22", b"\x54\0\x20\x02", b"\\ISO 2022 IR 87", STORE, ECHO, _FIND, RELEASE,
)  # fmt: skip


def seeds_of(target: str, *, with_published: bool) -> Iterator[bytes]:
    yield from {"stream": _streams, "data_set": _films}[target]()
    if target == "data_set" and with_published:
        yield from _published()


def _streams() -> Iterator[bytes]:
    scripts = (
        bytes([0x40 | 2, 60]) + bytes(60),  # an object
        bytes([0x40, 60]) + bytes(60) + bytes([4, 9]) + bytes(9) + bytes([2, 0]),  # in pieces
        bytes([0x20 | 3, 0, 0x80, 0]),  # an echo, a release
        bytes([3, len(_FIND)]) + _FIND + bytes([2, 20]) + bytes(20),
        bytes([1, 20]) + _FIND[:20] + bytes([3, len(_FIND) - 20]) + _FIND[20:] + bytes([2, 0]),
    )
    for seed in (0, 1, 7):
        yield from (bytes([3, seed]) + script for script in scripts)
        yield bytes([0, seed]) + _pdu(1, _ASSOCIATE + _items()) + RELEASE
        yield bytes([0, seed]) + _pdu(7, bytes(4))


def _items() -> bytes:
    """The variable items of an A-ASSOCIATE-RQ (PS3.8 9.3.2), user information of every kind (PS3.7 D.3.3)."""
    uid = b"1.2.840.10008.1.1"
    context = bytes([1, 0, 0, 0]) + _item(0x30, uid) + _item(0x40, b"1.2.840.10008.1.2")
    user = (
        (0x51, bytes([0, 0, 64, 0])), (0x52, b"2.25.1"), (0x53, bytes(4)), (0x54, b"\0\x11" + uid + b"\1\1"),
        (0x55, b"NAME"), (0x56, b"\0\x11" + uid + b"\0\1\1"), (0x57, b"\0\x11" + uid + b"\0\1a\0\0"),
        (0x58, b"\1\1\0\1u\0\1p"),
    )  # fmt: skip
    sub_items = b"".join(_item(*each) for each in user)
    return _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context) + _item(0x50, sub_items)


def _films() -> Iterator[bytes]:
    codes = code_sequence("399348003", "SCT", "AP")
    elements = {"PixelData": bytes(8), "ViewPosition": None, "ViewCodeSequence": codes, "PatientName": "FUZZ"}
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        film = dx_bytes(transfer_syntax=syntax, **elements)
        yield bytes([_ANNOUNCED, SYNTAXES.index(syntax)]) + _data_set_of(film)
        yield bytes([_FILE, 0]) + film
    explicit = _data_set_of(dx_bytes(**elements))
    yield bytes([_DEFLATED, 0]) + explicit
    yield bytes([_ANNOUNCED, SYNTAXES.index(JPEG2000Lossless)]) + explicit
    yield bytes([_ANNOUNCED, SYNTAXES.index("no uid")]) + explicit


def _published() -> Iterator[bytes]:
    """The beginning of each hostile file, as a file and as a data set in three encodings."""
    for file in sorted((SHARED_DATA / "hostile").glob("*")):
        content = file.read_bytes()[:LONGEST]
        yield bytes([_FILE, 0]) + content
        if content[128:132] == b"DICM":
            for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
                yield bytes([_ANNOUNCED, SYNTAXES.index(syntax)]) + _data_set_of(content)


def _data_set_of(part10: bytes) -> bytes:
    """What follows group 0002 (PS3.10 7.1), whose own length may be missing or wrong."""
    at = _META_BEGIN
    while part10[at : at + 2] == b"\2\0":
        is_long = part10[at + 4 : at + 6] in (b"OB", b"UN")
        length = part10[at + 8 : at + 12] if is_long else part10[at + 6 : at + 8]
        at += (12 if is_long else 8) + int.from_bytes(length, "little")
    return part10[at:]


def _pdu(kind: int, content: bytes) -> bytes:
    return bytes([kind, 0]) + len(content).to_bytes(4, "big") + content


def _item(kind: int, content: bytes) -> bytes:
    return bytes([kind, 0]) + len(content).to_bytes(2, "big") + content
