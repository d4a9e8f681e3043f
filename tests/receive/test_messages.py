"""Which messages are streamed, which are collected, and what is no message."""

import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from dicom_node.receive.command import StoreRequest, parse_command
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.messages import Messages
from dicom_node.receive.pdus import BadPdu, Fragment

DX = "1.2.840.10008.5.1.4.1.1.1.1"


def element(number: int, content: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(content)) + content


def us(number: int) -> bytes:
    return struct.pack("<H", number)


def store_command(**changes: Any) -> bytes:
    elements = {2: DX.encode() + b"\0", 0x100: us(1), 0x110: us(7), 0x700: us(0), 0x800: us(1), 0x1000: b"1.2.3\0"}
    elements |= {int(number[1:], 16): content for number, content in changes.items()}
    return b"".join(element(*each) for each in sorted(elements.items()) if each[1] is not None)


FIND = b"".join(element(*each) for each in ((2, b"1.2"), (0x100, us(0x20)), (0x110, us(1)), (0x800, us(1))))
ECHO = b"".join(element(*each) for each in ((2, b"1.2"), (0x100, us(0x30)), (0x110, us(1)), (0x800, us(0x101))))


@dataclass
class FakeDeposit:
    written: bytes = b""
    header: None = None
    is_discarded: bool = False

    def write(self, pieces: list[bytes | memoryview]) -> None:
        self.written += b"".join(pieces)

    def finish(self) -> int:
        return 0xB000

    def discard(self) -> None:
        self.is_discarded = True


@dataclass
class FakeService:
    deposits: list[FakeDeposit] = field(default_factory=list)
    answers: list[tuple[StoreRequest, int]] = field(default_factory=list)
    messages: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)

    def begin_store(self, request: StoreRequest) -> Any:
        self.deposits.append(FakeDeposit())
        return self.deposits[-1]

    def answer_store(self, request: StoreRequest, status: int, kept: InstanceHeader | None) -> None:
        self.answers.append((request, status))

    def take_message(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        self.messages.append((context_id, command, data_set))


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def messages(service: FakeService) -> Messages:
    return Messages(service)


def fragment(data: bytes, *, is_command: bool = False, is_last: bool = True, context: int = 1) -> Fragment:
    return Fragment(context, is_command, is_last, memoryview(data))


def send(messages: Messages, command: bytes, *data: bytes) -> None:
    messages.take(fragment(command[:5], is_command=True, is_last=False))
    messages.take(fragment(command[5:], is_command=True))
    for number, piece in enumerate(data, 1):
        messages.take(fragment(piece, is_last=number == len(data)))


def test_an_object_is_streamed_and_answered(messages: Messages, service: FakeService) -> None:
    send(messages, store_command(), b"da", b"ta")
    send(messages, store_command(x1000=b"1.2.4"), b"")
    assert [each.written for each in service.deposits] == [b"data", b""]
    assert [(request.sop_instance_uid, status) for request, status in service.answers] == [
        ("1.2.3", 0xB000),
        ("1.2.4", 0xB000),
    ]
    assert service.messages == []


def test_what_is_here_of_an_object_is_written_when_its_bytes_will_go(messages: Messages, service: FakeService) -> None:
    messages.take(fragment(store_command(), is_command=True))
    messages.take(fragment(b"some", is_last=False))
    messages.hand_on()
    assert service.deposits[0].written == b"some"
    messages.discard()
    assert service.deposits[0].is_discarded
    send(messages, ECHO)
    assert service.messages == [(1, ECHO, None)]


@pytest.mark.parametrize(
    ("command", "data"), [(ECHO, []), (FIND, [b"que", b"ry"]), (store_command(x800=us(0x0101)), [])]
)
def test_everything_else_is_handed_on_whole(
    command: bytes, data: list[bytes], messages: Messages, service: FakeService
) -> None:
    send(messages, command, *data)
    assert service.messages == [(1, command, b"".join(data) if data else None)]


@pytest.mark.parametrize(
    "command",
    [
        store_command(x110=None),
        store_command(x2=None),
        store_command(x1000=b""),
        store_command(x1000=b"1." * 33),
        store_command(x1000=b"\xff"),
        store_command()[:-1],
        b"\x08\0\x05\0\0\0\0\0",
        struct.pack("<HHI", 0, 2, 0xFFFFFFFF),
    ],
)
def test_a_command_that_cannot_be_answered_breaks_the_protocol(command: bytes, messages: Messages) -> None:
    with pytest.raises(BadPdu):
        messages.take(fragment(command, is_command=True))


def test_a_fragment_that_does_not_belong_breaks_the_protocol(messages: Messages) -> None:
    with pytest.raises(BadPdu):
        messages.take(fragment(b"data before a command"))
    messages.take(fragment(store_command(), is_command=True))
    with pytest.raises(BadPdu):
        messages.take(fragment(ECHO, is_command=True))
    with pytest.raises(BadPdu):
        messages.take(fragment(b"data", context=3))


def test_what_is_collected_is_bounded(messages: Messages) -> None:
    for _ in range(65):
        messages.take(fragment(bytes(1000), is_command=True, is_last=False))
    with pytest.raises(BadPdu, match="command set"):
        messages.take(fragment(bytes(1000), is_command=True, is_last=False))
    messages.discard()
    messages.take(fragment(FIND, is_command=True))
    for _ in range(16):
        messages.take(fragment(bytes(1024 * 1024), is_last=False))
    with pytest.raises(BadPdu, match="data set"):
        messages.take(fragment(b"1", is_last=False))


@pytest.mark.parametrize("max_pdu_bytes", [0, 7, 64, 16_384])
def test_a_response_is_what_pynetdicom_reads(max_pdu_bytes: int) -> None:
    request = StoreRequest(5, 7, DX, "1.2.34")
    encoded = request.response(0xA700, max_pdu_bytes)
    message, at = C_STORE_RSP(), 0
    while at < len(encoded):
        size = 6 + int.from_bytes(encoded[at + 2 : at + 6], "big")
        assert not max_pdu_bytes or size - 6 <= max_pdu_bytes
        pdu = P_DATA_TF()
        pdu.decode(encoded[at : at + size])
        is_whole = message.decode_msg(pdu.to_primitive())
        at += size
    assert is_whole
    answer = message.message_to_primitive()
    assert isinstance(answer, C_STORE)
    assert (answer.Status, answer.MessageIDBeingRespondedTo) == (0xA700, 7)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (DX, "1.2.34")
    assert message.context_id == 5


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_noise_is_a_command_set_or_breaks_the_protocol(noise: bytes) -> None:
    with suppress(BadPdu):
        assert sum(map(len, parse_command(noise).elements.values())) < len(noise) or not noise
