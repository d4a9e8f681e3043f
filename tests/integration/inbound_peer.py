"""A listener for tests, and a sender that speaks MLLP byte by byte."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from waiting import LONG_S

from dicom_node.audit import AuditTrail
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.receive.refusals import Refusals
from integration.framing import Deframer, frame
from integration.inbound import listen, serve
from integration.message_intake import MessageIntake
from integration.mllp_conversation import Limits


@contextmanager
def listening(settings: Settings, sessions: Sessions, limits: Limits = Limits()) -> Iterator[int]:
    """The role's port, open while the block runs."""
    intake = MessageIntake(settings, sessions, utc_now)
    trail, stop = AuditTrail(settings.audit_dir, settings.ae_title, utc_now), threading.Event()
    with listen("127.0.0.1", 0) as port:
        options = {"listening": port, "stop": stop, "limits": limits}
        thread = threading.Thread(target=serve, args=(settings, intake, Refusals(trail)), kwargs=options)
        thread.start()
        try:
            yield port.getsockname()[1]
        finally:
            stop.set()
            thread.join(LONG_S)
            trail.stopped()
    assert not thread.is_alive()


class MllpSender:
    """One connection; `send` and `hear` apart, so that a test can say when."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
        self._deframer = Deframer()
        self._heard: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(map(frame, messages)))

    def hear(self) -> bytes | None:
        """The next answer; None when the other end has closed."""
        while not self._heard:
            received = self.socket.recv(64 * 1024)
            if not received:
                return None
            self._heard += self._deframer.feed(received)
        return self._heard.pop(0)

    def ask(self, message: bytes) -> bytes | None:
        self.send(message)
        return self.hear()

    def is_closed(self) -> bool:
        """Wait until the other end has closed."""
        try:
            return self.hear() is None
        except ConnectionError:
            return True
