"""pynetdicom's server, repaired: a TLS handshake that cannot block the port, a backlog, quiet errors, an end."""

import socket
import ssl
from socketserver import TCPServer
from typing import Any, cast

from pynetdicom.transport import ThreadedAssociationServer

from dicom_node import logs

_HANDSHAKE_TIMEOUT_S = 5.0

_log = logs.get("listener")


class Listener(ThreadedAssociationServer):
    """Accepts at once; shakes hands in the connection's own thread, so that a silent client holds up nobody else."""

    request_queue_size = 128  # pynetdicom's 5 drops connections of a busy minute
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        listening = cast(socket.socket, self.socket)  # None only before the server is bound
        client, address = listening.accept()
        if self.ssl_context:
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket) and not self._shakes_hands(request):
            self.shutdown_request(request)
            return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # socketserver would print a traceback with values to stderr.
        _log.error("association_not_started")

    def shutdown(self) -> None:
        # pynetdicom's takes the server off a list that `make_server` never put it on.
        TCPServer.shutdown(self)
        self.server_close()

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
