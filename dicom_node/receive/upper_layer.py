"""pynetdicom's upper layer (PS3.8 9), woken by what happens instead of looking every millisecond.

Its state machine, its PDUs and its timers are used as they are. Replaced is the loop, and in state 6 the way of
P-DATA-TF: fragments go to `Messages`, a C-STORE's straight to its file. What this stands on is held by
tests/receive/test_pynetdicom_contract.py.
"""

import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_P_ABORT, P_DATA

from dicom_node import logs
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.command import StoreRequest
from dicom_node.receive.connection import Bell, Connection, RingingQueue
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.intake import Deposit, Intake
from dicom_node.receive.messages import Messages
from dicom_node.receive.pdus import BadPdu, PduBuffer
from dicom_node.receive.transfers import TransferBook

if TYPE_CHECKING:
    from dicom_node.receive.association import FastAssociation

# PS3.8 tables 9-1 to 9-5, 9-10: the states and events that this loop knows
_AWAITING_REQUEST, _ESTABLISHED, _AWAITING_CLOSE = "Sta2", "Sta6", "Sta13"
_CONNECTION_CLOSED, _ARTIM_EXPIRED, _INVALID_PDU = "Evt17", "Evt18", "Evt19"
_COMMAND, _DATA = b"\x03", b"\x02"  # message control headers of whole fragments, PS3.8 E.2
_DUL_PROVIDER_UNSPECIFIED = 0x00  # PS3.8 table 9-26
_QUIET_S = 1.0  # after which a peer's large buffers are given back
_MOST_WAITING = 8  # messages other than C-STORE; PS3.7 D.3.3.3 allows one, where nothing else was negotiated
_PROGRESS_BYTES = 16 * 1024  # within a message, whoever sends less in the network time-out is as good as silent

Returned = TypeVar("Returned")

_log = logs.get("upper_layer")


class UpperLayer(DULServiceProvider):
    """The provider of one association; its thread reads, writes the files and answers C-STOREs."""

    def __init__(self, assoc: "FastAssociation", intake: Intake, book: TransferBook, *, max_pdu_bytes: int) -> None:
        super().__init__(assoc)
        self.daemon = True
        self._association = assoc
        self._intake = intake
        self._book = book
        self._bell = Bell()
        self._buffer = PduBuffer(max_pdu_bytes)
        self._messages = Messages(self)
        self._is_storing = False
        self._began, self._stored = time.monotonic(), 0
        self._since_progress = 0  # bytes
        self._poll = select.poll()
        self.to_provider_queue = RingingQueue(self._bell)
        self.to_user_queue = RingingQueue(assoc.bell)

    # What pynetdicom calls

    def run_reactor(self) -> None:
        """Work until the state machine has come to its end (Sta1)."""
        self._idle_timer.start()
        self._association._dul_ready.set()
        try:
            self._poll.register(self._bell, select.POLLIN)
            self._poll.register(self._connection, select.POLLIN)
            while not self._kill_thread:
                self._turn()
        finally:
            self._end()

    def kill_dul(self) -> None:
        self._kill_thread = True
        self._bell.set()

    def stop_dul(self) -> bool:
        """Wait for the end of the thread. The state machine comes there by itself: the ARTIM timer sees to it."""
        self.join()
        return True

    @property
    def has_message_under_way(self) -> bool:
        """Whether a message has begun and is not answered yet."""
        assoc = self._association
        return self._is_storing or self._messages.is_under_way or assoc.is_serving or not assoc.dimse.msg_queue.empty()

    def idle_timer_expired(self) -> bool:
        """Not while an object is made durable: then it is we that keep the peer waiting."""
        return not self._is_storing and bool(super().idle_timer_expired())

    # What Messages calls

    def begin_store(self, request: StoreRequest) -> Deposit:
        context = self._association._accepted_cx.get(request.context_id)
        if context is None:
            raise BadPdu(f"presentation context {request.context_id} was not accepted")
        calling_ae = self._association.requestor.ae_title.strip()
        syntax = str(context.transfer_syntax[0])
        return self._intake.begin(Announcement(request.sop_class_uid, request.sop_instance_uid, syntax, calling_ae))

    def answer_store(self, request: StoreRequest, status: int, kept: InstanceHeader | None) -> None:
        self._connection.send(request.response(status, self._association.requestor.maximum_length or 0))
        if kept is not None:  # while the peer begins with the next
            self._stored += 1
            self._book.add(self._association, kept)

    def take_message(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        if self._association.dimse.msg_queue.qsize() >= _MOST_WAITING:
            raise BadPdu(f"{_MOST_WAITING} messages wait for their answers, expected one at a time")
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, _COMMAND + command))
        if data_set is not None:
            primitive.presentation_data_value_list.append((context_id, _DATA + data_set))
        _by_pynetdicom(lambda: self._association.dimse.receive_primitive(primitive))

    # The loop

    @property
    def _connection(self) -> Connection:
        return cast(Connection, self.socket)

    def _turn(self) -> None:
        """Do the one thing that is next, or wait for it."""
        state = self.state_machine.current_state
        if self._awaits_artim(state) and self.artim_timer.expired:
            self.event_queue.put(_ARTIM_EXPIRED)
        try:
            if self.event_queue.queue:
                event = self.event_queue.get(block=False)
                _by_pynetdicom(lambda: self.state_machine.do_action(event))
            elif state == _AWAITING_CLOSE:
                self._await_close()  # and send nothing more
            elif self.to_provider_queue.queue:
                self._process_recv_primitive()
            else:
                self._take_next_piece(is_established=state == _ESTABLISHED)
        except BadPdu as error:
            _log.warning("protocol_broken", state=state, error=str(error))
            self._messages.discard()
            self.event_queue.put(_INVALID_PDU)

    def _take_next_piece(self, *, is_established: bool) -> None:
        piece = self._buffer.next_piece(is_established=is_established)
        if piece is None:
            self._read()
        elif isinstance(piece, bytes):
            pdu, event = _by_pynetdicom(lambda: self._decode_pdu(bytearray(piece)))
            self._recv_pdu.put(pdu)
            self.event_queue.put(event)
            self._note_progress()
        else:
            self._is_storing = piece.is_last
            self._messages.take(piece)
            if piece.is_last:
                self._note_progress()
            self._is_storing = False

    def _read(self) -> None:
        self._messages.hand_on()
        count = self._connection.receive(self._buffer.space())
        if count is None:
            self._wait()
        elif count == 0:
            self.event_queue.put(_CONNECTION_CLOSED)
        else:
            self._buffer.filled(count)
            self._since_progress += count
            if self._since_progress >= _PROGRESS_BYTES:
                self._note_progress()

    def _note_progress(self) -> None:
        """The peer is not idle: a message or a PDU has ended, or a good piece of one has come."""
        self._since_progress = 0
        self._idle_timer.restart()

    def _await_close(self) -> None:
        """Nothing that comes now is looked at (PS3.8 AA-6). When nothing does, close."""
        self._buffer.clear()
        if not self._connection.receive(self._buffer.space()):
            self._connection.close()

    def _wait(self) -> None:
        ready = self._poll.poll(self._timeout_ms())
        for file, _ in ready:
            if file == self._bell.fileno():
                self._bell.clear()
        if not ready and self._buffer.may_shrink:
            self._buffer.shrink()

    def _timeout_ms(self) -> float | None:
        if self._awaits_artim(self.state_machine.current_state):
            return max(0.0, self.artim_timer.remaining * 1000 + 1)
        return _QUIET_S * 1000 if self._buffer.may_shrink else None

    def _awaits_artim(self, state: str) -> bool:
        return state in (_AWAITING_REQUEST, _AWAITING_CLOSE)

    def _end(self) -> None:
        """Leave nothing open, whatever has happened, and let the association know."""
        self._kill_thread = True
        self._messages.discard()
        self._buffer.close()
        self._connection.close()
        self._bell.close()
        self._book.tell(self._association)
        self._log_end()
        aborted = A_P_ABORT()
        aborted.provider_reason = _DUL_PROVIDER_UNSPECIFIED
        self.to_user_queue.put(aborted)

    def _log_end(self) -> None:
        if self._association.requestor.primitive is not None:
            calling_ae = self._association.requestor.ae_title.strip()
            seconds = round(time.monotonic() - self._began, 3)
            _log.info("association_ended", calling_ae=calling_ae, count=self._stored, seconds=seconds)


def _by_pynetdicom(step: Callable[[], Returned]) -> Returned:
    """Raises BadPdu for whatever pynetdicom raises on what a stranger sent."""
    try:
        return step()
    except Exception as error:  # it raises what it likes; the association ends, not the process
        raise BadPdu(logs.places(error)) from error
