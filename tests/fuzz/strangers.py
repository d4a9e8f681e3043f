"""What a stranger sends, as a script of bytes that a fuzzer mutates, and who receives it in a fuzzing run."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from dicom_node.receive.command import StoreRequest
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.pdus import BadPdu

ACCEPTED = (1, 3, 5)  # presentation contexts
STATUS = 0x0000
_DX, _VERIFICATION = b"1.2.840.10008.5.1.4.1.1.1.1\0", b"1.2.840.10008.1.1\0"
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"
_CONTEXTS = (1, 3, 5, 8)
_IS_RELEASE, _IS_STORE, _IS_ECHO, _ENDS_PDU = 0x80, 0x40, 0x20, 0x04


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


STORE = b"".join(
    element(*each) for each in ((2, _DX), (0x100, b"\1\0"), (0x110, b"\7\0"), (0x800, b"\1\0"), (0x1000, b"1.2.3\0"))
)
ECHO = b"".join(element(*each) for each in ((2, _VERIFICATION), (0x100, b"\x30\0"), (0x110, b"\7\0"), (0x800, b"\1\1")))


def well_formed(script: bytes) -> bytes:
    """PDUs whose lengths are right, so that a mutation gets as far as the messages.

    Each step is a byte of flags (the two lowest are the message control header), a length and so many bytes.
    """
    stream, values = b"", b""
    for flags, content in _steps(script):
        context = _CONTEXTS[flags >> 3 & 3]
        if flags & _IS_STORE:
            values += _value(STORE, 3, context)
        if flags & _IS_ECHO:
            values += _value(ECHO, 3, context)
        values += _value(content, flags & 3, context)
        if flags & (_ENDS_PDU | _IS_RELEASE):
            stream, values = stream + _data_pdu(values), b""
        if flags & _IS_RELEASE:
            stream += RELEASE
    return stream + (_data_pdu(values) if values else b"")


def cuts_of(stream: bytes, seed: int) -> Iterator[bytes]:
    """The stream in pieces: in one for 0, else in sixteen or so, which the seed decides."""
    at, state, longest = 0, seed, max(2, len(stream) // 8)
    while at < len(stream):
        state = (state * 75 + 74) % 65_537  # Lehmer's generator: the same cuts for the same input
        count = 1 + state % longest if seed else len(stream)
        yield stream[at : at + count]
        at += count


@dataclass
class Deposit:
    """Takes an object as the intake does: what was handed over is read until the next call, not only in this one."""

    request: StoreRequest
    header: None = None
    content: bytes = b""
    outcome: str = ""
    _pieces: list[bytes | memoryview] = field(default_factory=list)
    _seen: bytes = b""

    def write(self, pieces: list[bytes | memoryview]) -> None:
        self._look_again()
        self._pieces, self._seen = pieces, b"".join(pieces)

    def finish(self) -> int:
        self._end("finished")
        return STATUS

    def discard(self) -> None:
        self._end("discarded")

    def _end(self, outcome: str) -> None:
        self._look_again()
        assert not self.outcome, f"{outcome} after it was {self.outcome}"
        self.outcome = outcome

    def _look_again(self) -> None:
        assert b"".join(self._pieces) == self._seen, "bytes were overwritten before the next call"
        self.content += self._seen
        self._pieces, self._seen = [], b""


@dataclass
class Node:
    """A `Service` that remembers."""

    heard: list[object] = field(default_factory=list)  # in the order of their ends
    under_way: Deposit | None = None

    def begin_store(self, request: StoreRequest) -> Deposit:
        if request.context_id not in ACCEPTED:
            raise BadPdu("not accepted")
        assert self.under_way is None, "two objects at once"
        self.under_way = Deposit(request)
        return self.under_way

    def answer_store(self, request: StoreRequest, status: int, kept: InstanceHeader | None) -> None:
        deposit, self.under_way = self.under_way, None
        assert deposit is not None
        assert (deposit.request, deposit.outcome, status) == (request, "finished", STATUS)
        self.heard.append((request, deposit.content))
        assert request.response(status, 0)
        assert request.response(status, 1 + request.message_id % 64)

    def take_message(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        self.heard.append((context_id, command, data_set))


def _steps(script: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(script):
        flags, length = script[at], script[at + 1]
        yield flags, script[at + 2 : at + 2 + length]
        at += 2 + length


def _value(content: bytes, control: int, context: int) -> bytes:
    return struct.pack(">IBB", len(content) + 2, context, control) + content


def _data_pdu(values: bytes) -> bytes:
    return struct.pack(">BBI", 4, 0, len(values)) + values
