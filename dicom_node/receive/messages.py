"""Fragments put together to messages (PS3.8 annex E): a C-STORE's data set is streamed, everything else collected."""

from collections.abc import Callable
from typing import Protocol

from dicom_node.receive.command import Command, StoreRequest, parse_command, store_request
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.intake import Deposit
from dicom_node.receive.pdus import BadPdu, Fragment

_LONGEST_COMMAND_BYTES = 64 * 1024
_LONGEST_OTHER_BYTES = 16 * 1024 * 1024  # of a data set that is no image: a query, an N-ACTION


class Service(Protocol):
    """Who the messages are for."""

    def begin_store(self, request: StoreRequest) -> Deposit:
        """Where the data set goes. Raises BadPdu if the presentation context was not accepted."""

    def answer_store(self, request: StoreRequest, status: int, kept: InstanceHeader | None) -> None:
        """kept: what is durable now, where the status is Success."""

    def take_message(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        """Any other message, whole."""


class Messages:
    """The message that is being received on one association: one at a time, as nothing else was negotiated."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._command = bytearray()
        self._context_id: int | None = None  # of the message under way
        self._take_data: Callable[[Fragment], None] | None = None  # once its command is complete
        self._deposit: Deposit | None = None
        self._pieces: list[bytes | memoryview] = []  # of its data set, not yet handed on

    @property
    def is_under_way(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._context_id is not None

    def take(self, fragment: Fragment) -> None:
        """Raises BadPdu where the fragment does not belong to the message under way."""
        if self._context_id not in (None, fragment.context_id) or fragment.is_command != (self._take_data is None):
            raise BadPdu(f"a fragment of context {fragment.context_id} does not belong here")
        self._context_id = fragment.context_id
        if self._take_data is not None:
            self._take_data(fragment)
        else:
            self._take_command(fragment)

    def hand_on(self) -> None:
        """Write what was received of an object, before its bytes are overwritten.

        Also when nothing was: a deposit may count on what it was given until its next call has returned.
        """
        if self._deposit is not None:
            self._deposit.write(self._pieces)
            self._pieces = []

    def discard(self) -> None:
        """Forget the message under way."""
        if self._deposit is not None:
            self._deposit.discard()
        self._end()

    def _take_command(self, fragment: Fragment) -> None:
        self._command += fragment.data
        if len(self._command) > _LONGEST_COMMAND_BYTES:
            raise BadPdu(f"a command set of more than {_LONGEST_COMMAND_BYTES} bytes")
        if not fragment.is_last:
            return
        encoded = bytes(self._command)
        command = parse_command(encoded)
        if not command.has_data_set:
            self._end()
            self._service.take_message(fragment.context_id, encoded, None)
        elif command.is_store_request:
            self._take_data = self._store(command, fragment.context_id)
        else:
            self._take_data = self._collect(encoded)

    def _store(self, command: Command, context_id: int) -> Callable[[Fragment], None]:
        request = store_request(command, context_id)
        deposit = self._deposit = self._service.begin_store(request)

        def take(fragment: Fragment) -> None:
            self._pieces.append(fragment.data)
            if fragment.is_last:
                self.hand_on()
                status = deposit.finish()
                self._end()
                self._service.answer_store(request, status, deposit.header)

        return take

    def _collect(self, command: bytes) -> Callable[[Fragment], None]:
        data_set = bytearray()

        def take(fragment: Fragment) -> None:
            data_set.extend(fragment.data)
            if len(data_set) > _LONGEST_OTHER_BYTES:
                raise BadPdu(f"a data set of more than {_LONGEST_OTHER_BYTES} bytes that is no object to store")
            if fragment.is_last:
                self._end()
                self._service.take_message(fragment.context_id, command, bytes(data_set))

        return take

    def _end(self) -> None:
        self._command = bytearray()
        self._context_id = self._take_data = self._deposit = None
        self._pieces = []
