"""A peer that writes its PDUs by hand (PS3.8 9.3), in any pieces."""

import socket
import struct
from typing import Self

from waiting import LONG_S

DX = "1.2.840.10008.5.1.4.1.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 0x02, 0x03, 0x04, 0x06, 0x07  # PDU types
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"
ECHO_CLASS = "1.2.840.10008.1.1"


class RawPeer:
    """One TCP connection."""

    def __init__(self, port: int, *, source: str = "127.0.0.1", calling: str = "MODALITY") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LONG_S, source_address=(source, 0))
        self.calling = calling

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def associate(self) -> int:
        """The type of the answer."""
        self.send(association_request(self.calling))
        return self.answer()[0]

    def status(self) -> int:
        kind, content = self.answer()
        assert kind == DATA
        at = content.index(struct.pack("<HHI", 0, 0x0900, 2)) + 8
        return int.from_bytes(content[at : at + 2], "little")

    def answer(self) -> tuple[int, bytes]:
        """The next PDU; type 0 when the connection is closed."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        return head[0], self._read(int.from_bytes(head[2:], "big"))

    def reset(self) -> None:
        """Close with a TCP RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            try:
                piece = self.socket.recv(count - len(found))
            except ConnectionResetError:
                return b""
            if not piece:
                return b""
            found += piece
        return found


def association_request(calling: str) -> bytes:
    """A-ASSOCIATE-RQ: DX in context 1, Verification in context 3."""
    items = item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract in ((1, DX), (3, ECHO_CLASS)):
        context = bytes([number, 0, 0, 0]) + item(0x30, abstract.encode()) + item(0x40, EXPLICIT.encode())
        items += item(0x20, context)
    items += item(0x50, item(0x51, struct.pack(">I", 16_384)) + item(0x52, b"2.25.1"))
    titles = struct.pack(">HH16s16s32x", 1, 0, b"CXRNODE".ljust(16), calling.encode().ljust(16))
    return pdu(0x01, titles + items)


def store(sop_instance: str, data_set: bytes, *, pdu_bytes: int = 16_384, values: int = 1) -> bytes:
    """C-STORE-RQ and data set, in PDUs of so many values."""
    command = store_command(sop_instance)
    step = max(1, (pdu_bytes // values) - 6)
    parts = [data_set[at : at + step] for at in range(0, len(data_set), step)]
    all_values = [value(part, 2 * (number == len(parts))) for number, part in enumerate(parts, 1)]
    groups = [all_values[at : at + values] for at in range(0, len(all_values), values)]
    return pdu(DATA, value(command, 3)) + b"".join(pdu(DATA, b"".join(group)) for group in groups)


def store_command(sop_instance: str) -> bytes:
    """PS3.7 9.3.1.1"""
    return _command({2: uid(DX), 0x100: us(1), 0x110: us(7), 0x700: us(0), 0x800: us(1), 0x1000: uid(sop_instance)})


def echo() -> bytes:
    """PS3.7 9.3.5.1"""
    return pdu(DATA, value(_command({2: uid(ECHO_CLASS), 0x100: us(0x30), 0x110: us(8), 0x800: us(0x101)}), 3, 3))


def cancel(message_id: int) -> bytes:
    """PS3.7 9.3.2.3"""
    return pdu(DATA, value(_command({0x100: us(0x0FFF), 0x120: us(message_id), 0x800: us(0x101)}), 3, 3))


def event_report(context: int = 3) -> bytes:
    """PS3.7 10.3.1.1, without information."""
    of = {2: uid(ECHO_CLASS), 0x1000: uid("1.2.3")}
    elements = {**of, 0x100: us(0x0100), 0x110: us(9), 0x800: us(0x101), 0x1002: us(1)}
    return pdu(DATA, value(_command(dict(sorted(elements.items()))), 3, context))


def value(data: bytes, control: int, context: int = 1) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content)) + content


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def us(number: int) -> bytes:
    return struct.pack("<H", number)


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def _command(elements: dict[int, bytes]) -> bytes:
    group = b"".join(struct.pack("<HHI", 0, number, len(content)) + content for number, content in elements.items())
    return struct.pack("<HHII", 0, 0, 4, len(group)) + group
