"""A peer's TCP or TLS connection that is waited for, not polled."""

import os
import queue
import select
import socket
import ssl
import threading
from typing import Any, TypeVar

from pynetdicom.transport import AssociationSocket

Item = TypeVar("Item")

_WANTS_MORE = (BlockingIOError, ssl.SSLWantReadError)
_WANTS_ROOM = (BlockingIOError, ssl.SSLWantWriteError)


class Connection(AssociationSocket):
    """pynetdicom's socket, never blocking in a read, and in a write no longer than the time-out."""

    def __init__(self, assoc: Any, client: socket.socket, *, timeout_s: float | None) -> None:
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(assoc, client_socket=client)
        self._timeout_ms = None if timeout_s is None else timeout_s * 1000

    def fileno(self) -> int:
        return -1 if self.socket is None else self.socket.fileno()

    def receive(self, space: memoryview) -> int | None:
        """Fill the space with what is there. Returns how much, 0 at the end of the stream, None if nothing is there."""
        if self.socket is None:
            return 0
        filled = 0
        try:
            while filled < len(space):
                count = self.socket.recv_into(space[filled:])
                filled += count
                if not count or not isinstance(self.socket, ssl.SSLSocket):  # TLS gives one record at a time
                    break
        except _WANTS_MORE:
            return filled or None
        except OSError:
            return filled  # reset: the stream has ended
        return filled

    def send(self, bytestream: bytes) -> None:
        """Send all of it, or say that the connection is closed (Evt17) as pynetdicom does."""
        rest = memoryview(bytestream)
        try:
            while rest and self.socket is not None:
                rest = rest[self._send_some(self.socket, rest) :]
            self._acknowledge_at_once()
        except OSError:
            self.event_queue.put("Evt17")

    def _acknowledge_at_once(self) -> None:
        """Let TCP acknowledge what comes next without delay; the kernel forgets that when it sends.

        DCMTK's senders have Nagle's algorithm on and write each PDU in two pieces: a delayed acknowledgement stalls
        them 40 ms.
        """
        if self.socket is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _send_some(self, client: socket.socket, content: memoryview) -> int:
        try:
            return client.send(content)
        except _WANTS_ROOM:
            waiting = select.poll()
            waiting.register(client, select.POLLOUT)
            if not waiting.poll(self._timeout_ms):
                raise TimeoutError from None
            return 0

    def _shutdown_socket(self) -> None:
        # pynetdicom's does not close what cannot be shut down.
        if self.socket is not None:
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was first
            finally:
                self.socket.close()


class Bell:
    """Wakes a thread that polls; may be rung by any thread, also when nobody listens any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: int | None = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        return -1 if self._file is None else self._file

    def set(self) -> None:
        with self._lock:
            if self._file is not None:
                os.eventfd_write(self._file, 1)

    def clear(self) -> None:
        if self._file is not None:
            os.eventfd_read(self._file)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


class RingingQueue(queue.Queue[Item]):
    """A queue that rings when something is put into it."""

    def __init__(self, bell: Bell | threading.Event) -> None:
        super().__init__()
        self._bell = bell

    def put(self, item: Item, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._bell.set()
