"""A small RIS for demonstration, self-test and tests: takes HL7 messages over MLLP and acknowledges them.

It is no RIS: nothing is checked or protected. Run it by `python -m integration.simulators.ris --dir D`.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

from dicom_node.errors import PeerUnreachable
from dicom_node.peers import Tls
from dicom_node.tls import server_context
from integration.framing import Deframer, frame
from integration.simulators.inbox import Inbox
from integration.simulators.standalone import arguments, run_until_terminated

# From a message to the bytes put on the wire: none at all for silence. ConnectionError: hang up.
Reply = Callable[[bytes], bytes]

_READ_BYTES = 64 * 1024
_HANDSHAKE_TIMEOUT_S = 5.0
_POLL_INTERVAL_S = 0.05


def acknowledge(message: bytes, *, code: str = "AA", error: str = "", control_id: str | None = None) -> bytes:
    """Build a framed acknowledgement. Source: HL7 2.5.1 2.9.2.1, 2.14.1 (ACK), tables 0008 and 0357.

    error: a code of table 0357 for ERR-3. control_id: MSA-2, if it is not to be that of the message.
    """
    # MSH-1 is the separator itself, so MSH-n is the piece n - 1.
    msh = message.split(b"\r", 1)[0].decode("latin-1").split("|") + [""] * 12
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    fields = [
        "MSH",
        "^~\\&",
        msh[4],
        msh[5],
        msh[2],
        msh[3],
        now,
        "",
        "ACK^R01^ACK",
        f"A{msh[9]}"[:20],
        msh[10],
        msh[11],
    ]
    segments = ["|".join(fields), f"MSA|{code}|{msh[9] if control_id is None else control_id}"]
    if error:
        segments.append(f"ERR|||{error}|E")
    return frame("".join(f"{segment}\r" for segment in segments).encode("latin-1"))


def answer_with(code: str, error: str = "") -> Reply:
    """A RIS that answers each message with this code (table 0008) and error (table 0357)."""
    return lambda message: acknowledge(message, code=code, error=error)


def keep_silent(_: bytes) -> bytes:
    """A RIS that takes messages and never answers."""
    return b""


def talk_rubbish(_: bytes) -> bytes:
    """A RIS whose answers are no HL7."""
    return b"HTTP/1.1 400 Bad Request\r\n\r\n" + frame(b"MSH") + frame(b"\xff\xfe\x00MSA|AA|")


def acknowledge_another(message: bytes) -> bytes:
    """A RIS that acknowledges a message which is not the one it got."""
    return acknowledge(message, control_id="ANOTHER")


def hang_up(_: bytes) -> bytes:
    """A RIS that closes the connection instead of answering."""
    raise ConnectionAbortedError


FAULTS: dict[str, Reply] = {
    "AE": answer_with("AE", "101"),
    "AR": answer_with("AR", "207"),
    "silence": keep_silent,
    "rubbish": talk_rubbish,
    "another": acknowledge_another,
    "hang-up": hang_up,
}


class LoopbackRis:
    """A RIS that is up while its `with` block runs. `reply` and `delay_s` may be changed at any time."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: Tls | None = None,
        reply: Reply = acknowledge,
    ) -> None:
        self.host = host
        self.port = port  # the real one as soon as it is up
        self.reply = reply
        self.delay_s = 0.0  # an answer comes so much later
        self.inbox = Inbox(folder, ".hl7")
        self._tls = server_context(tls) if tls else None
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self._server = _Server((self.host, self.port), self._tls, self._talk)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(_POLL_INTERVAL_S,), name="ris", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()

    def _talk(self, connection: socket.socket) -> None:
        deframer = Deframer()
        while received := connection.recv(_READ_BYTES):
            for message in deframer.feed(received):
                self._take(message)
                answer = self.reply(message)
                self._is_over.wait(self.delay_s)
                connection.sendall(answer)

    def _take(self, message: bytes) -> None:
        fields = message.split(b"\r", 1)[0].split(b"|")
        control_id = fields[9].decode("latin-1") if len(fields) > 9 else ""
        self.inbox.keep(control_id, message)
        self.inbox.note(control_id, message)


class _Server(ThreadingTCPServer):
    """A thread for each connection; `server_close` waits for all of them."""

    allow_reuse_address = True

    def __init__(
        self, address: tuple[str, int], tls: ssl.SSLContext | None, talk: Callable[[socket.socket], None]
    ) -> None:
        self._tls = tls
        self._talk = talk
        self._connections: set[socket.socket] = set()
        super().__init__(address, BaseRequestHandler)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, address = super().get_request()
        if self._tls:  # the handshake waits for the caller, so the thread of the connection does it
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.add(connection)
        return connection, address

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        # The caller may go away, or be sent away, at any time: then nothing is left to do.
        with suppress(OSError, PeerUnreachable):
            if isinstance(request, ssl.SSLSocket):
                request.settimeout(_HANDSHAKE_TIMEOUT_S)
                request.do_handshake()
                request.settimeout(None)
            self._talk(request)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections."""
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    parser = arguments("A small RIS: HL7 messages over MLLP into a folder.", default_port=2575)
    parser.add_argument("--fault", choices=sorted(FAULTS), help="answer wrongly")
    options = parser.parse_args()
    reply = FAULTS.get(options.fault, acknowledge)
    run_until_terminated(LoopbackRis(options.dir, host=options.host, port=options.port, reply=reply))


if __name__ == "__main__":
    main()
