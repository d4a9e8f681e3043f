"""Command sets: as much of them as a C-STORE needs (PS3.7 6.3.1, 9.3.1), Implicit VR Little Endian."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.receive.pdus import BadPdu
from dicom_node.uids import LONGEST_UID

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001  # PS3.7 E.1
NO_DATA_SET = 0x0101

_ELEMENT = struct.Struct("<HHI")
_AFFECTED_SOP_CLASS_UID, _AFFECTED_SOP_INSTANCE_UID = 0x0002, 0x1000
_COMMAND_FIELD, _MESSAGE_ID, _MESSAGE_ID_RESPONDED_TO = 0x0100, 0x0110, 0x0120
_COMMAND_DATA_SET_TYPE, _STATUS = 0x0800, 0x0900
_COMMAND_HEADER, _LAST_COMMAND_HEADER = 0x01, 0x03  # PS3.8 E.2
_PDV_HEAD_BYTES = 6


@dataclass(frozen=True)
class Command:
    """A command set: element number → value. All are of group 0000."""

    elements: dict[int, bytes]

    def number(self, element: int) -> int | None:
        """A value of VR US; None where it is absent."""
        value = self.elements.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else None

    def uid(self, element: int) -> str:
        """A value of VR UI. Raises BadPdu where it is absent or too long."""
        uid = self.elements.get(element, b"").rstrip(b"\0 ").decode("latin-1")
        if not 0 < len(uid) <= LONGEST_UID or not uid.isascii():
            raise BadPdu(f"(0000,{element:04X}) has {len(uid)} characters, expected 1–{LONGEST_UID}")
        return uid

    @property
    def has_data_set(self) -> bool:
        return self.number(_COMMAND_DATA_SET_TYPE) != NO_DATA_SET

    @property
    def is_store_request(self) -> bool:
        return self.number(_COMMAND_FIELD) == C_STORE_RQ


@dataclass(frozen=True)
class StoreRequest:
    """A C-STORE-RQ (PS3.7 9.3.1.1)."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str

    def response(self, status: int, max_pdu_bytes: int) -> bytes:
        """The C-STORE-RSP (PS3.7 9.3.1.2) as P-DATA-TF PDUs, no longer than the peer takes; 0: of any length."""
        group = b"".join(
            (
                _element(_AFFECTED_SOP_CLASS_UID, _ui(self.sop_class_uid)),
                _element(_COMMAND_FIELD, _us(C_STORE_RSP)),
                _element(_MESSAGE_ID_RESPONDED_TO, _us(self.message_id)),
                _element(_COMMAND_DATA_SET_TYPE, _us(NO_DATA_SET)),
                _element(_STATUS, _us(status)),
                _element(_AFFECTED_SOP_INSTANCE_UID, _ui(self.sop_instance_uid)),
            )
        )
        command = _element(0x0000, struct.pack("<I", len(group))) + group
        return b"".join(_data_pdus(self.context_id, command, max_pdu_bytes or len(command) + _PDV_HEAD_BYTES))


def parse_command(encoded: bytes) -> Command:
    """Raises BadPdu where it is no command set."""
    elements, at = {}, 0
    while at < len(encoded):
        if at + _ELEMENT.size > len(encoded):
            raise BadPdu("a command set ends within an element")
        group, number, length = _ELEMENT.unpack_from(encoded, at)
        at += _ELEMENT.size + length
        if group != 0 or at > len(encoded):
            raise BadPdu(f"element of group {group:04X} and {length} bytes in a command set of {len(encoded)}")
        elements[number] = encoded[at - length : at]
    return Command(elements)


def store_request(command: Command, context_id: int) -> StoreRequest:
    """Raises BadPdu where the command lacks what its response must repeat."""
    message_id = command.number(_MESSAGE_ID)
    if message_id is None:
        raise BadPdu("a C-STORE-RQ without Message ID")
    return StoreRequest(
        context_id, message_id, command.uid(_AFFECTED_SOP_CLASS_UID), command.uid(_AFFECTED_SOP_INSTANCE_UID)
    )


def _data_pdus(context_id: int, command: bytes, max_pdu_bytes: int) -> Iterator[bytes]:
    step = max(1, max_pdu_bytes - _PDV_HEAD_BYTES)
    for at in range(0, len(command), step):
        piece = command[at : at + step]
        header = _LAST_COMMAND_HEADER if at + step >= len(command) else _COMMAND_HEADER
        size = len(piece) + 2
        yield struct.pack(">BBIIBB", 0x04, 0, size + 4, size, context_id, header) + piece


def _element(number: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0x0000, number, len(value)) + value


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _ui(uid: str) -> bytes:
    return uid.encode("ascii") + b"\0" * (len(uid) % 2)
