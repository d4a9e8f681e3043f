"""The RIS as a destination: HL7 acknowledgements over MLLP, one connection for each attempt."""

import codecs
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from dicom_node.errors import PeerUnreachable
from dicom_node.peers import MllpDestination
from dicom_node.states import DeliveryKind
from dicom_node.tls import client_context
from integration.destinations import Ack, Encoded, Outcome
from integration.document import ReportDocument
from integration.framing import Deframer, frame
from integration.oru import encode_oru

# HL7 table 0008, acknowledgement code (MSA-1)
_CODES = {
    "AA": (Outcome.DELIVERED, "took the report"),
    "CA": (Outcome.DELIVERED, "took the report"),
    "AE": (Outcome.REJECTED, "found an error in the report"),
    "CE": (Outcome.REJECTED, "found an error in the report"),
    "AR": (Outcome.RETRY, "did not take the report now"),
    "CR": (Outcome.RETRY, "did not take the report now"),
}
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


class MllpSender:
    """Sends ORU^R01 messages to one RIS and waits for the acknowledgement. Source: HL7 2.5.1 2.9.2, original mode."""

    kind = DeliveryKind.ORU

    def __init__(self, destination: MllpDestination) -> None:
        """Raises OSError if the TLS files of the destination cannot be loaded."""
        self.name: str = destination.name
        self.timeout_s = destination.timeout_s
        self._destination = destination
        self._tls = client_context(destination.tls) if destination.tls else None

    def encode(self, document: ReportDocument) -> Encoded:
        return encode_oru(document, self._destination)

    def send(self, payload: bytes) -> Ack:
        """Send the message once and wait for the acknowledgement whose MSA-2 is our MSH-10.

        Anything else that comes in is ignored. The wait is at most `timeout_s` each for the connection and the answer.
        """
        try:
            with self._connect() as connection:
                return self._exchange(connection, payload)
        except TimeoutError:
            return self._retry(f"did not acknowledge the report within {self.timeout_s:g} s")
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
            raise PeerUnreachable("cannot be reached: no connection") from error
        with plain:
            if self._tls is None:
                yield plain
                return
            try:
                secure = self._tls.wrap_socket(plain, server_hostname=to.host)
            except OSError as error:
                raise PeerUnreachable("cannot be reached: no TLS") from error
            with secure:
                yield secure

    def _exchange(self, connection: socket.socket, payload: bytes) -> Ack:
        control_id = _control_id(payload)
        deadline = monotonic() + self.timeout_s
        connection.sendall(frame(payload))
        for answer in _acknowledgements(connection, deadline):
            if answer.control_id == control_id and answer.code in _CODES:
                return self._judge(answer)
        raise PeerUnreachable("closed the connection before it acknowledged the report")

    def _judge(self, answer: "_Answer") -> Ack:
        outcome, words = _CODES[answer.code]
        causes = [f"{code} {_ERRORS[code]}" for code in answer.error_codes if code in _ERRORS]
        return Ack(outcome, answer.code, f"{self.name} {words} ({', '.join([answer.code, *causes])}).")

    def _retry(self, words: str) -> Ack:
        return Ack(Outcome.RETRY, "", f"{self.name} {words}.")


@dataclass(frozen=True)
class _Answer:
    code: str  # MSA-1
    control_id: str  # MSA-2
    error_codes: tuple[str, ...]  # ERR-3.1


def _acknowledgements(connection: socket.socket, deadline: float) -> Iterator[_Answer]:
    """Give the readable acknowledgements until the peer closes. Raises TimeoutError at the deadline."""
    deframer = Deframer(_MAX_ACK_BYTES)
    while received := _receive(connection, deadline):
        for message in deframer.feed(received):
            if answer := _read_answer(message):
                yield answer


def _receive(connection: socket.socket, deadline: float) -> bytes:
    remaining_s = deadline - monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    connection.settimeout(remaining_s)
    return connection.recv(_READ_BYTES)


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
    return _Answer(msa[1].strip(), msa[2].strip(), errors)


def _control_id(payload: bytes) -> str:
    # MSH-10 of our own message. MSH-1 is the separator itself, so MSH-n is the piece n - 1.
    return payload.split(b"\r", 1)[0].split(payload[3:4])[9].decode("ascii")
