"""What is fuzzed, and what must hold whatever comes: a broken rule is an AssertionError, or an exception nobody names.

An input begins with two bytes that choose how the rest is taken; the rest is a stranger's.
"""

import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

from pydicom.uid import AllTransferSyntaxes, DeflatedExplicitVRLittleEndian
from pynetdicom.dul import _PDU_TYPES
from strangers import Node, cuts_of, well_formed

from dicom_node.errors import InvalidHeader
from dicom_node.receive import header, messages, pdus
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.deflate import refuse_deflate_bomb
from dicom_node.receive.header import InstanceHeader, as_number, read_header
from dicom_node.receive.messages import Messages
from dicom_node.receive.part10 import file_prefix
from dicom_node.receive.pdus import BadPdu, Fragment, PduBuffer
from dicom_node.receive.plain_elements import NotPlain

# Limits that small inputs reach, and buffers that they turn over.
_SMALL = {
    (pdus, "_IDLE_BUFFER_BYTES"): 64,
    (pdus, "_BUSY_BUFFER_BYTES"): 256,
    (pdus, "_LONGEST_CONTROL_PDU_BYTES"): 1024,
    (messages, "_LONGEST_COMMAND_BYTES"): 512,
    (messages, "_LONGEST_OTHER_BYTES"): 1024,
}
_MAX_PDU_BYTES = 700
_LARGEST_BUFFER_BYTES = 1024 + 6
_ASSOCIATE_REQUEST = 1
_IS_SCRIPT, _IS_ESTABLISHED = 1, 2
_HAS_PAUSES = 1  # in the second byte: the peer is quiet whenever nothing is there
# How a data set comes: from a peer that announced a transfer syntax, deflated by us, or as a file with its own meta.
_ANNOUNCED, _DEFLATED, _FILE = range(3)
SYNTAXES = (*map(str, AllTransferSyntaxes), "1.2.3.4", "no uid", "")
_LONGEST_WORD = 64
_NUMBERS = ("accession_number", "patient_id", "issuer_of_patient_id")  # as received; a row has what `as_number` leaves
_COMPARED = 16  # one of so many: pydicom takes ten times as long

MakeBuffer = Callable[[int], PduBuffer]


def make_small(set_value: Callable[[object, str, int], None] = setattr) -> None:
    """Bring the receiver's limits down to the size of a fuzzer's inputs."""
    for (module, name), size in _SMALL.items():
        assert hasattr(module, name), f"{module.__name__} has no {name}"
        set_value(module, name, size)


def stream(data: bytes, make_buffer: MakeBuffer = PduBuffer) -> None:
    """Bytes on a connection give the same messages however they are cut, within bounded buffers."""
    if len(data) < 2:
        return
    how, seed, sent = data[0], data[1], data[2:]
    if how & _IS_SCRIPT:
        sent = well_formed(sent)
    is_established = bool(how & _IS_ESTABLISHED)
    heard = _receive(make_buffer(_MAX_PDU_BYTES), sent, 0, is_established=is_established)
    again = _receive(make_buffer(_MAX_PDU_BYTES), sent, seed, is_established=is_established)
    assert heard == again, "other cuts, other messages"
    for pdu in filter(lambda each: isinstance(each, bytes), heard):
        _decode(pdu)


def _receive(buffer: PduBuffer, sent: bytes, seed: int, *, is_established: bool) -> list[object]:
    """The loop of `UpperLayer`: what was heard, and last whether the peer broke the protocol."""
    node = Node()
    assembly, rest = Messages(node), cuts_of(sent, seed)
    come = next(rest, b"")
    try:
        while True:
            piece = buffer.next_piece(is_established=is_established)
            if isinstance(piece, Fragment):
                assembly.take(piece)
            elif piece is not None:
                is_established |= piece[0] == _ASSOCIATE_REQUEST
                node.heard.append(piece)
            elif come:
                assembly.hand_on()
                if seed & _HAS_PAUSES and buffer.may_shrink:
                    buffer.shrink()
                come = _put(buffer, come) or next(rest, b"")
            else:
                break
    except BadPdu:
        node.heard.append("aborted")
    assembly.discard()
    assert node.under_way is None or node.under_way.outcome == "discarded"
    buffer.close()
    return node.heard


def _put(buffer: PduBuffer, come: bytes) -> bytes:
    """Returns what there was no space for."""
    space = buffer.space()
    assert 0 < len(space) <= _LARGEST_BUFFER_BYTES, f"space of {len(space)} bytes"
    part = come[: len(space)]
    space[: len(part)] = part
    buffer.filled(len(part))
    return come[len(part) :]


def _decode(pdu: bytes) -> None:
    """By pynetdicom, which raises what it likes (the association ends); it must not hang."""
    decoded = _PDU_TYPES[pdu[:1]][0]()
    with suppress(Exception):
        decoded.decode(pdu)
        decoded.to_primitive()


def data_set(data: bytes) -> None:
    """A header is read or refused as InvalidHeader; its values fit the rows; both readers agree."""
    if len(data) < 2:
        return
    part10, offset, is_deflated = _part10(data[0] % 3, SYNTAXES[data[1] % len(SYNTAXES)], data[2:])
    with suppress(InvalidHeader):
        if is_deflated:
            refuse_deflate_bomb(BytesIO(part10[offset:]))
        _check(read_header(BytesIO(part10)))
    if zlib.crc32(data) % _COMPARED == 0:
        _compare(part10)


def _part10(how: int, syntax: str, content: bytes) -> tuple[bytes, int, bool]:
    """A file as the intake writes it or as it is imported, where its data set begins, and whether that is deflated."""
    if how == _FILE:
        return content, 0, False
    if how == _DEFLATED:
        deflater = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        syntax, content = DeflatedExplicitVRLittleEndian, deflater.compress(content) + deflater.flush()
    prefix = file_prefix(Announcement("1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", syntax, "FUZZ"))
    return prefix + content, len(prefix), syntax == DeflatedExplicitVRLittleEndian


def _check(found: InstanceHeader) -> None:
    for name, value in vars(found).items():
        kept = as_number(value) if name in _NUMBERS else value
        if isinstance(kept, str):
            assert len(kept) <= _LONGEST_WORD, "a word too long for a row"
            assert value.isprintable(), "a word that a database refuses"
    uids = (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid, found.sop_class_uid)
    assert all(each.replace(".", "").isdigit() for each in uids)


def _compare(part10: bytes) -> None:
    try:
        quick: object = header._header(header._PlainSource(BytesIO(part10)))
    except NotPlain:
        return
    except InvalidHeader as error:
        quick = str(error)
    try:
        slow: object = header._read_by_pydicom(BytesIO(part10))
    except InvalidHeader as error:
        slow = str(error)
    assert quick == slow, "the quick reader and pydicom disagree"


TARGETS: dict[str, Callable[[bytes], None]] = {"stream": stream, "data_set": data_set}
