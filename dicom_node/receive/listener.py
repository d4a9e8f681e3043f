"""pynetdicom's server, repaired: nobody who is silent blocks the port or fills it; a backlog, quiet errors, an end."""

import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer
from typing import Any, cast

from pynetdicom.transport import ThreadedAssociationServer

from dicom_node import logs

_HANDSHAKE_TIMEOUT_S = 5.0
_MOST_SILENT = 64  # connections of one address that have asked for nothing yet; more are hung up on

_log = logs.get("listener")


class Listener(ThreadedAssociationServer):
    """Accepts at once; shakes hands in the connection's own thread, so that a silent client holds up nobody else."""

    request_queue_size = 1024  # pynetdicom's 5 drops connections of a busy minute
    daemon_threads = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._lock = threading.Lock()
        self._shaking: Counter[str] = Counter()  # by address: in the TLS handshake, not an association yet
        super().__init__(*arguments, **named)

    def get_request(self) -> tuple[socket.socket, Any]:
        listening = cast(socket.socket, self.socket)  # None only before the server is bound
        client, address = listening.accept()
        if self.ssl_context:
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        address = client_address[0]
        waiting = sum(
            assoc.requestor.primitive is None and assoc.requestor.address == address
            for assoc in self.active_associations
        )
        if waiting + self._shaking[address] < _MOST_SILENT:
            return True
        _log.warning("connection_refused", count=_MOST_SILENT)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            with self._counted(client_address[0]):
                is_welcome = self._shakes_hands(request)
            if not is_welcome:
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)

    def service_actions(self) -> None:
        """Nothing: pynetdicom's collects garbage here, which stops every association."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        # socketserver would print a traceback with values to stderr.
        _log.error("association_not_started")

    def shutdown(self) -> None:
        # pynetdicom's takes the server off a list that `make_server` never put it on.
        TCPServer.shutdown(self)
        self.server_close()

    @contextmanager
    def _counted(self, address: str) -> Iterator[None]:
        with self._lock:
            self._shaking[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._shaking[address] -= 1
                if not self._shaking[address]:
                    del self._shaking[address]

    @staticmethod
    def _shakes_hands(client: ssl.SSLSocket) -> bool:
        client.settimeout(_HANDSHAKE_TIMEOUT_S)
        try:
            client.do_handshake()
        except OSError as error:  # time-out, TLS error and reset are all OSErrors
            _log.warning("handshake_refused", error=type(error).__name__)
            return False
        client.settimeout(None)
        return True


def bound_port(server: ThreadedAssociationServer) -> int:
    """The port in use, also when any free one was asked for."""
    return server.server_address[1]
