"""The RIS as a destination: HL7 acknowledgements over MLLP, one connection for each attempt."""

import codecs
import re
import socket
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic

from dicom_node.clock import utc_now
from dicom_node.errors import InvalidOutput, PeerUnreachable
from dicom_node.peers import MllpDestination
from dicom_node.states import DeliveryKind
from dicom_node.tls import client_context, words_of
from integration.acknowledgement import acknowledge
from integration.destinations import NOT_SENT, Ack, Encoded, Outcome
from integration.document import ReportDocument
from integration.er7 import read_header
from integration.framing import Deframer, frame
from integration.oru import encode_oru
from integration.oru_cancellation import encode_cancellation

# HL7 table 0008, acknowledgement code (MSA-1)
CODES = {
    "AA": (Outcome.DELIVERED, "took the report"),
    "CA": (Outcome.DELIVERED, "took the report"),
    "AE": (Outcome.REJECTED, "found an error in the report"),
    "CE": (Outcome.REJECTED, "found an error in the report"),
    "AR": (Outcome.RETRY, "did not take the report now"),
    "CR": (Outcome.RETRY, "did not take the report now"),
}
_COMMITTED = "CA"  # the peer has it in safe storage: it is never sent again, whatever becomes of it there
_APPLICATION_CODES = ("AA", "AE", "AR")
_ALWAYS = "AL"  # MSH-16, table 0155
_WHEN_TAKEN = (_ALWAYS, "SU")  # MSH-15
# HL7 table 0357, message error condition (ERR-3). Other texts of the peer may hold patient data and stay out.
_ERRORS = {
    "100": "segment sequence error",
    "101": "required field missing",
    "102": "data type error",
    "103": "table value not found",
    "200": "unsupported message type",
    "201": "unsupported event",
    "202": "unsupported processing ID",
    "203": "unsupported version",
    "204": "unknown key identifier",
    "205": "duplicate key identifier",
    "206": "application record locked",
    "207": "application internal error",
}
_MAX_ACK_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024


# Each encodes for one destination and passes the message's own gate. All raise InvalidOutput.
_ENCODERS: Mapping[DeliveryKind, Callable[[ReportDocument, MllpDestination], Encoded]] = {
    DeliveryKind.ORU: encode_oru,
    DeliveryKind.CANCELLATION: encode_cancellation,
}


class _NoConnection(PeerUnreachable):
    """Nothing of the message has gone out."""


class MllpSender:
    """Sends ORU^R01 messages to one RIS and waits for the acknowledgement that they ask for.

    Source: HL7 2.5.1 2.9.2, original mode; 2.9.3, enhanced mode.
    """

    def __init__(self, destination: MllpDestination, kind: DeliveryKind = DeliveryKind.ORU) -> None:
        """Raises OSError if the TLS files of the destination cannot be loaded."""
        self.name: str = destination.name
        self.kind = kind
        self.timeout_s = destination.timeout_s
        self._destination = destination
        if destination.tls:  # read for each connection; here to end the start with what is wrong
            client_context(destination.tls)

    def encode(self, document: ReportDocument) -> Encoded:
        return _ENCODERS[self.kind](document, self._destination)

    def send(self, payload: bytes) -> Ack:
        """Send the message once and wait for the acknowledgement whose MSA-2 is our MSH-10.

        Anything else that comes in is ignored. The wait is at most `timeout_s` each for the connection and an answer.
        """
        try:
            with self._connect() as connection:
                return self._exchange(connection, payload)
        except TimeoutError:
            return self._retry(f"did not acknowledge the report within {self.timeout_s:g} s")
        except _NoConnection as error:
            return self._retry(str(error), NOT_SENT)
        except PeerUnreachable as error:
            return self._retry(str(error))
        except OSError:
            return self._retry("lost the connection before it acknowledged the report")

    @contextmanager
    def _connect(self) -> Iterator[socket.socket]:
        to = self._destination
        try:
            plain = socket.create_connection((to.host, to.port), timeout=self.timeout_s)
        except OSError as error:  # refused, unreachable, too slow, or an unknown name
            raise _NoConnection("cannot be reached: no connection") from error
        with plain:
            if to.tls is None:
                yield plain
                return
            try:
                # Anew each time: the files may have been replaced.
                secure = client_context(to.tls).wrap_socket(plain, server_hostname=to.host)
            except OSError as error:
                raise _NoConnection(f"cannot be reached: no TLS ({words_of(error)})") from error
            with secure:
                yield secure

    def _exchange(self, connection: socket.socket, payload: bytes) -> Ack:
        header = read_header(payload)
        if header is None:
            raise InvalidOutput("ORU: the payload begins with no MSH, expected a message")
        answers = _Answers(connection, control_id=header.field(10))
        deadline = monotonic() + self.timeout_s
        connection.sendall(frame(payload))
        answer = answers.next(CODES, deadline)
        if answer.code == _COMMITTED and header.field(16) == _ALWAYS:
            return self._await_application(answers)
        return self._judge(answer)

    def _await_application(self, answers: "_Answers") -> Ack:
        try:
            answer = answers.next(_APPLICATION_CODES, monotonic() + self.timeout_s)
        except (PeerUnreachable, OSError):  # too late, too: TimeoutError is an OSError
            words = f"{self.name} took the report ({_COMMITTED}) and has not said what became of it."
            return Ack(Outcome.DELIVERED, _COMMITTED, words)
        answers.commit_to(answer)
        return self._judge(answer)

    def _judge(self, answer: "_Answer") -> Ack:
        outcome, words = CODES[answer.code]
        causes = [f"{code} {_ERRORS[code]}" for code in answer.error_codes if code in _ERRORS]
        return Ack(outcome, answer.code, f"{self.name} {words} ({', '.join([answer.code, *causes])}).")

    def _retry(self, words: str, code: str = "") -> Ack:
        return Ack(Outcome.RETRY, code, f"{self.name} {words}.")


@dataclass(frozen=True)
class _Answer:
    code: str  # MSA-1
    control_id: str  # MSA-2
    error_codes: tuple[str, ...]  # ERR-3.1
    raw: bytes


class _Answers:
    """The acknowledgements of one message, as they come in on its connection."""

    def __init__(self, connection: socket.socket, *, control_id: str) -> None:
        self._connection = connection
        self._control_id = control_id
        self._deframer = Deframer(_MAX_ACK_BYTES)
        self._unread: deque[bytes] = deque()

    def next(self, codes: Collection[str], deadline: float) -> _Answer:
        """The next with one of the codes. Raises TimeoutError at the deadline, PeerUnreachable when the peer closes."""
        while True:
            while self._unread:
                answer = _read_answer(self._unread.popleft())
                if answer and answer.control_id == self._control_id and answer.code in codes:
                    return answer
            self._unread.extend(self._deframer.feed(_receive(self._connection, deadline)))

    def commit_to(self, answer: _Answer) -> None:
        """Give the commit acknowledgement that an application's answer asks for. The answer counts without it, too."""
        header = read_header(answer.raw)
        if header and header.field(15) in _WHEN_TAKEN and (commit := acknowledge(header, None, utc_now())):
            with suppress(OSError):
                self._connection.sendall(frame(commit))


def _receive(connection: socket.socket, deadline: float) -> bytes:
    remaining_s = deadline - monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    connection.settimeout(remaining_s)
    received = connection.recv(_READ_BYTES)
    if not received:
        raise PeerUnreachable("closed the connection before it acknowledged the report")
    return received


def _read_answer(message: bytes) -> _Answer | None:
    """Read MSA and ERR; an answer without them is none.

    MSH-18 does not matter: all that is needed is ASCII, which means the same in each charset that MLLP allows.
    """
    segments = [line.strip() for line in re.split(r"[\r\n]+", message.removeprefix(codecs.BOM_UTF8).decode("latin-1"))]
    header = next((line for line in segments if line.startswith("MSH") and len(line) > 4), None)
    if header is None:
        return None
    separator, component = header[3], header[4]
    rows = [line.split(separator) for line in segments]
    msa = next((row for row in rows if row[0] == "MSA" and len(row) > 2), None)
    if msa is None:
        return None
    errors = tuple(row[3].split(component)[0] for row in rows if row[0] == "ERR" and len(row) > 3)
    return _Answer(msa[1].strip(), msa[2].strip(), errors, message)
