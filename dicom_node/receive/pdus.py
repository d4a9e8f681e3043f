"""Bytes as they come, cut into PDUs (PS3.8 9.3.1); what P-DATA-TF carries, into fragments (PS3.8 9.3.5).

No sockets here, and nothing is copied: what a data set consists of is handed on as views of the buffer.
"""

import struct
from typing import NamedTuple

_PDU_HEAD = struct.Struct(">BBI")  # type, reserved, length
_PDV_HEAD = struct.Struct(">IBB")  # length, presentation context, message control header
_PDU_TYPES = range(0x01, 0x08)
_DATA = 0x04  # P-DATA-TF
_LONGEST_CONTROL_PDU_BYTES = 256 * 1024  # 128 presentation contexts with 30 transfer syntaxes each
_IDLE_BUFFER_BYTES = 4 * 1024
_BUSY_BUFFER_BYTES = 512 * 1024
# PS3.8 E.2, message control header
_IS_COMMAND, _IS_LAST = 0x01, 0x02


class BadPdu(Exception):
    """The peer broke the protocol. The text says how, in numbers."""


class Fragment(NamedTuple):
    """A piece of a message: a whole presentation data value, or as much of one as is here."""

    context_id: int
    is_command: bool
    is_last: bool  # the message's command or data set ends with it
    data: memoryview


class PduBuffer:
    """Two buffers in turn: what was handed out of one stays as it is while the other is filled."""

    def __init__(self, max_pdu_bytes: int) -> None:
        self._max_pdu_bytes = max_pdu_bytes
        self._size = _IDLE_BUFFER_BYTES
        self._view, self._other = memoryview(bytearray(self._size)), memoryview(b"")
        self._at = self._end = 0  # read, filled
        self._pdu_left = 0  # bytes of the current P-DATA-TF that were not looked at
        self._value_left = 0  # the same of its current presentation data value
        self._value: tuple[int, int] | None = None  # context and control header of that value

    def space(self) -> memoryview:
        """Where to put what comes next. What was handed out before the last call of this stays no longer as it is."""
        if self._at or self._end == len(self._view):
            self._turn_over()
        return self._view[self._end :]

    def filled(self, count: int) -> None:
        """So many bytes were put there."""
        self._end += count

    @property
    def may_shrink(self) -> bool:
        """Whether a large message took memory that nothing needs now."""
        return self._size > _IDLE_BUFFER_BYTES and self._at == self._end

    def shrink(self) -> None:
        """Give that memory back. What was handed out of it stays as it is."""
        self._at = self._end = 0
        self._size = _IDLE_BUFFER_BYTES
        self._view, self._other = memoryview(bytearray(self._size)), memoryview(b"")

    def clear(self) -> None:
        """Forget what was not read."""
        self._at = self._end = self._pdu_left = self._value_left = 0
        self._value = None

    def close(self) -> None:
        """Give the memory back: pynetdicom's objects hold each other, so that they stay until they are collected."""
        self.clear()
        self._view = self._other = memoryview(b"")

    def next_piece(self, *, is_established: bool) -> bytes | Fragment | None:
        """The next fragment, or another whole PDU with its head; None until more has come.

        is_established: fragments are expected. Otherwise P-DATA-TF is a PDU like the others. Raises BadPdu.
        """
        if not self._pdu_left and self._value is None:
            if self._end - self._at < _PDU_HEAD.size:
                return None
            kind, _, length = _PDU_HEAD.unpack_from(self._view, self._at)
            if kind != _DATA or not is_established:
                return self._control_pdu(kind, length)
            if not _PDV_HEAD.size <= length <= self._max_pdu_bytes:
                raise BadPdu(f"P-DATA-TF of {length} bytes, expected {_PDV_HEAD.size}–{self._max_pdu_bytes}")
            self._at += _PDU_HEAD.size
            self._pdu_left = length
        return self._fragment()

    def _control_pdu(self, kind: int, length: int) -> bytes | None:
        if kind not in _PDU_TYPES or length > _LONGEST_CONTROL_PDU_BYTES:
            raise BadPdu(f"PDU of type {kind:02X}h and {length} bytes")
        size = _PDU_HEAD.size + length
        if self._end - self._at < size:
            self._size = max(self._size, size)
            return None
        self._at += size
        return bytes(self._view[self._at - size : self._at])

    def _fragment(self) -> Fragment | None:
        if self._value is None and not self._begin_value():
            return None
        context_id, control = self._value or (0, 0)
        begin, self._at = self._at, min(self._at + self._value_left, self._end)
        count = self._at - begin
        if not count and self._value_left:
            return None
        self._value_left -= count
        self._pdu_left -= count
        is_last = not self._value_left and bool(control & _IS_LAST)
        if not self._value_left:
            self._value = None
        return Fragment(context_id, bool(control & _IS_COMMAND), is_last, self._view[begin : self._at])

    def _begin_value(self) -> bool:
        if self._pdu_left < _PDV_HEAD.size:
            raise BadPdu(f"{self._pdu_left} bytes of P-DATA-TF are left, too few for a presentation data value")
        if self._end - self._at < _PDV_HEAD.size:
            return False
        length, context_id, control = _PDV_HEAD.unpack_from(self._view, self._at)
        # The length counts context and control header, not itself.
        if not 2 <= length <= self._pdu_left - 4:
            raise BadPdu(f"presentation data value of {length} bytes in {self._pdu_left} bytes of P-DATA-TF")
        self._at += _PDV_HEAD.size
        self._pdu_left -= _PDV_HEAD.size
        self._value, self._value_left = (context_id, control), length - 2
        if not control & _IS_COMMAND:
            self._size = max(self._size, _BUSY_BUFFER_BYTES)
        return True

    def _turn_over(self) -> None:
        rest = self._view[self._at : self._end]
        if len(self._other) < self._size:
            self._other = memoryview(bytearray(self._size))
        self._other[: len(rest)] = rest
        self._view, self._other = self._other, self._view
        self._at, self._end = 0, len(rest)
