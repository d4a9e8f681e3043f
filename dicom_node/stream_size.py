"""What a compressed frame says of its own size: a decoder makes room for that, whatever the header says."""

import struct
from dataclasses import dataclass

_SOI = b"\xff\xd8"  # ISO 10918-1 B.1.1.3
# ISO 10918-1 table B.1, ISO 14495-1 C.2.2: SOF0 to SOF15 without DHT, JPG and DAC; DHP; SOF55 of JPEG-LS
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xDE, 0xF7} - {0xC4, 0xC8, 0xCC}
_FILL = 0xFF
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ, ISO 15444-1 A.4.1, A.5.1
_BOXES = b"\0\0\0\x0cjP  "  # a JP2 file around the codestream (ISO 15444-1 I.5.1), which senders write all the same
_CODESTREAM_BOX = b"jp2c"


@dataclass(frozen=True)
class StreamSize:
    """Of a whole frame."""

    rows: int
    columns: int
    components: int

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} x {self.components}"


def read_size(frame: bytes) -> StreamSize:
    """Of a JPEG, JPEG-LS or JPEG 2000 stream. Raises ValueError, IndexError or struct.error where it says none."""
    return _of_jpeg(frame) if frame.startswith(_SOI) else _of_jpeg_2000(frame)


def _of_jpeg(frame: bytes) -> StreamSize:
    """Source: ISO 10918-1 B.2.2."""
    at = len(_SOI)
    while frame[at] == _FILL:
        marker = frame[at + 1]
        if marker in _FRAME_HEADERS:
            return StreamSize(*struct.unpack_from(">HHB", frame, at + 5))
        at += 1 if marker == _FILL else 2 + int.from_bytes(frame[at + 2 : at + 4])
    raise ValueError("no marker where one belongs")


def _of_jpeg_2000(frame: bytes) -> StreamSize:
    """Source: ISO 15444-1 A.5.1: what the image leaves free of the reference grid does not belong to it."""
    at = _codestream_in_boxes(frame) if frame.startswith(_BOXES) else 0
    if frame[at : at + len(_CODESTREAM)] != _CODESTREAM:
        raise ValueError("no codestream where one belongs")
    right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
    (components,) = struct.unpack_from(">H", frame, at + 40)
    return StreamSize(bottom - top, right - left, components)


def _codestream_in_boxes(frame: bytes) -> int:
    """Where it begins. Source: ISO 15444-1 I.4."""
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, at)
        header = 8
        if length == 1:  # it follows, in eight bytes
            (length,), header = struct.unpack_from(">Q", frame, at + 8), 16
        if kind == _CODESTREAM_BOX:
            return at + header
        at += max(length, header)
