"""DICOM's upper layer by hand (PS3.8 9.3), to say what no library would say."""

import socket
import struct
from types import TracebackType
from typing import Self

_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_IMPLEMENTATION = b"2.25.1"
_ACCEPTANCE, _DATA = 0x02, 0x04  # PDU types
_FIXED_FIELDS, _CONTEXT_RESULT = 68, 0x21  # of an A-ASSOCIATE-AC
_FRAGMENT_BYTES = 32_768
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0001  # PS3.7 E.1, (0000,0800)
_STATUS = (0x0000, 0x0900)


class Refused(Exception):
    """The node answered with another PDU, or hung up: its type, 0 for hanging up."""


class Wire:
    """One TCP connection to the node as the calling AE title HOSTILE."""

    def __init__(self, port: int, *, timeout_s: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def associate(self, *contexts: tuple[str, str]) -> list[int]:
        """Propose a presentation context for each SOP class and transfer syntax.

        Returns their results, 0 for acceptance (PS3.8 table 9-18). Raises Refused.
        """
        self.socket.sendall(association_request(*contexts))
        items = self._expect(_ACCEPTANCE)[_FIXED_FIELDS:]
        results = []
        while items:
            kind, length = items[0], int.from_bytes(items[2:4], "big")
            if kind == _CONTEXT_RESULT:
                results.append(items[6])
            items = items[4 + length :]
        return results

    def store(self, sop_class: str, sop_instance: str, data_set: bytes | None) -> int:
        """C-STORE in the first context; no data set is another thing than an empty one. Returns the status."""
        self.socket.sendall(fragment(store_command(sop_class, sop_instance, data_set is not None), is_command=True))
        if data_set is not None:
            self.send_data_set(data_set)
        answer = self._expect(_DATA)
        return _us(_command(answer[6:])[_STATUS])

    def send_data_set(self, data_set: bytes, *, is_whole: bool = True) -> None:
        pieces = [data_set[at : at + _FRAGMENT_BYTES] for at in range(0, len(data_set), _FRAGMENT_BYTES)] or [b""]
        for number, piece in enumerate(pieces, 1):
            self.socket.sendall(fragment(piece, is_last=is_whole and number == len(pieces)))

    def reset(self) -> None:
        """Close with a TCP RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _expect(self, kind: int) -> bytes:
        head = self._read(6)
        body = self._read(int.from_bytes(head[2:6], "big"))
        if head[0] != kind:
            raise Refused(head[0])
        return body

    def _read(self, length: int) -> bytes:
        received = b""
        while len(received) < length:
            piece = self.socket.recv(length - len(received))
            if not piece:
                raise Refused(0)
            received += piece
        return received


def association_request(*contexts: tuple[str, str]) -> bytes:
    """A-ASSOCIATE-RQ, PS3.8 9.3.2."""
    items = _item(0x10, _APPLICATION_CONTEXT)
    for number, (abstract, transfer) in enumerate(contexts):
        identifier = (2 * number + 1) % 256  # beyond 128 contexts: used again
        items += _item(0x20, bytes([identifier, 0, 0, 0]) + _item(0x30, abstract) + _item(0x40, transfer))
    items += _item(0x50, _item(0x51, struct.pack(">I", 65_536)) + _item(0x52, _IMPLEMENTATION))
    return _pdu(0x01, struct.pack(">HH16s16s32x", 1, 0, b"CXRNODE".ljust(16), b"HOSTILE".ljust(16)) + items)


def fragment(content: bytes, *, is_command: bool = False, is_last: bool = True) -> bytes:
    """P-DATA-TF with one PDV of the first context, PS3.8 9.3.5 and annex E."""
    return _pdu(_DATA, struct.pack(">IBB", len(content) + 2, 1, is_command | is_last << 1) + content)


def store_command(sop_class: str, sop_instance: str, has_data_set: bool) -> bytes:
    """C-STORE-RQ, PS3.7 9.3.1.1."""
    group = b"".join(
        (
            _implicit(0x0002, _uid(sop_class)),
            _implicit(0x0100, struct.pack("<H", 0x0001)),
            _implicit(0x0110, struct.pack("<H", 1)),
            _implicit(0x0700, struct.pack("<H", 0)),
            _implicit(0x0800, struct.pack("<H", _DATA_SET if has_data_set else _NO_DATA_SET)),
            _implicit(0x1000, _uid(sop_instance)),
        )
    )
    return _implicit(0x0000, struct.pack("<I", len(group))) + group


def _command(group: bytes) -> dict[tuple[int, int], bytes]:
    found = {}
    while group:
        tag, length = struct.unpack("<HH", group[:4]), int.from_bytes(group[4:8], "little")
        found[tag] = group[8 : 8 + length]
        group = group[8 + length :]
    return found


def _us(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _implicit(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0x0000, element, len(value)) + value


def _item(kind: int, content: bytes | str) -> bytes:
    value = content.encode() if isinstance(content, str) else content
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content)) + content
