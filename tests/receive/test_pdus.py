"""Bytes cut into PDUs and fragments, however they come."""

import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.receive.pdus import BadPdu, Fragment, PduBuffer

MOST = 131_072
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"


def value(data: bytes, control: int = 0, context: int = 1) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def data_pdu(*values: bytes) -> bytes:
    content = b"".join(values)
    return struct.pack(">BBI", 4, 0, len(content)) + content


def pieces_of(
    buffer: PduBuffer, stream: bytes, step: int, *, is_established: bool = True
) -> Iterator[bytes | Fragment]:
    """Feed the stream in steps; give each piece while it is valid."""
    at = 0
    while True:
        piece = buffer.next_piece(is_established=is_established)
        if piece is not None:
            yield piece
            continue
        if at == len(stream):
            return
        space = buffer.space()[:step]
        part = stream[at : at + len(space)]
        space[: len(part)] = part
        buffer.filled(len(part))
        at += len(part)


def messages_of(stream: bytes, step: int) -> list[tuple[int, bool, bytes] | bytes]:
    """The fragments joined until the last of each, and other PDUs."""
    found: list[tuple[int, bool, bytes] | bytes] = []
    joined = b""
    for piece in pieces_of(PduBuffer(MOST), stream, step):
        if isinstance(piece, bytes):
            found.append(piece)
            continue
        joined += piece.data
        if piece.is_last:
            found.append((piece.context_id, piece.is_command, joined))
            joined = b""
    return found


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.integers(1, 4)), min_size=1, max_size=8),
    st.integers(1, 400),
)
def test_fragments_are_the_same_however_the_bytes_come(parts: list[tuple[bytes, int]], step: int) -> None:
    stream, expected, joined = b"", [], b""
    for number, (data, values) in enumerate(parts):
        is_last = number == len(parts) - 1
        cut = [data[each::values] for each in range(values)]
        flags = [0] * (values - 1) + [2 * is_last]
        stream += data_pdu(*(value(piece, flag) for piece, flag in zip(cut, flags, strict=True)))
        joined += b"".join(cut)
    expected = [(1, False, joined), RELEASE]
    assert messages_of(stream + RELEASE, step) == expected


def test_a_view_stays_until_the_space_was_asked_for_twice() -> None:
    buffer = PduBuffer(MOST)
    kept = []
    for number in range(6):
        pdu = data_pdu(value(bytes([number]) * 1000))
        buffer.space()[: len(pdu)] = pdu
        buffer.filled(len(pdu))
        piece = buffer.next_piece(is_established=True)
        assert isinstance(piece, Fragment)
        kept.append(piece.data)
        assert [bytes(each) for each in kept[-2:]] == [bytes([each]) * 1000 for each in range(number + 1)][-2:]
        assert buffer.next_piece(is_established=True) is None


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n",
        b"\0" * 6,
        b"\x08\0\0\0\0\x04",
        b"\x01\0\xff\xff\xff\xf0",  # claims 4 GB
        b"\x04\0\x7f\xff\xff\x00",
        struct.pack(">BBI", 4, 0, MOST + 1),
        struct.pack(">BBI", 4, 0, 5),
        struct.pack(">BBI", 5, 0, 1024 * 1024 + 1),
        data_pdu(struct.pack(">IBB", 1, 1, 0)),  # too short for context and control header
        data_pdu(struct.pack(">IBB", 3, 1, 0)),  # longer than its PDU
        data_pdu(value(b"data"), struct.pack(">IBB", 0xFFFFFFFF, 1, 0)),
        data_pdu(value(b"data"), b"\0\0\0"),  # too short for another value
    ],
)
def test_what_breaks_the_protocol_is_refused_before_it_is_read(stream: bytes) -> None:
    with pytest.raises(BadPdu):
        list(pieces_of(PduBuffer(MOST), stream + bytes(2), 4096))


def test_before_the_association_data_is_a_pdu_like_others() -> None:
    pdu = data_pdu(value(b"data"))
    assert list(pieces_of(PduBuffer(MOST), pdu, 3, is_established=False)) == [pdu]


def test_memory_does_not_grow_with_what_is_sent() -> None:
    buffer = PduBuffer(MOST)
    stream = data_pdu(value(bytes(MOST - 6))) * 64
    assert sum(len(each.data) for each in pieces_of(buffer, stream, MOST) if isinstance(each, Fragment)) == 64 * (
        MOST - 6
    )
    assert len(buffer._view) + len(buffer._other) <= 1024 * 1024


def test_a_large_buffer_is_given_back_within_a_message_too() -> None:
    buffer = PduBuffer(MOST)
    pdu = data_pdu(value(bytes(range(250)) * 500))
    half = len(pdu) // 2
    pieces = [piece for piece in pieces_of(buffer, pdu[:half], MOST) if isinstance(piece, Fragment)]
    assert buffer.may_shrink
    buffer.shrink()
    assert not buffer.may_shrink
    assert len(buffer._view) + len(buffer._other) == 4096
    joined = b"".join(bytes(each.data) for each in pieces)  # what was handed out before stays
    joined += b"".join(bytes(each.data) for each in pieces_of(buffer, pdu[half:], MOST) if isinstance(each, Fragment))
    assert joined == bytes(range(250)) * 500


def test_what_waits_for_its_rest_keeps_its_buffer() -> None:
    buffer = PduBuffer(MOST)
    pdu = b"\x01\0" + struct.pack(">I", 20_000) + bytes(20_000)
    assert list(pieces_of(buffer, pdu[:9_000], MOST, is_established=False)) == []
    assert not buffer.may_shrink
    assert list(pieces_of(buffer, pdu[9_000:], MOST, is_established=False)) == [pdu]
    assert buffer.may_shrink


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_noise_gives_pieces_or_bad_pdu(noise: bytes, step: int) -> None:
    with suppress(BadPdu):
        assert all(isinstance(each, bytes | Fragment) for each in pieces_of(PduBuffer(MOST), noise, step))
