"""Associations that this node opens."""

import socket
import time
from errno import EMSGSIZE
from ssl import SSLContext
from typing import cast

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

_LONGEST_PDU_BYTES = 1024 * 1024  # received; the peer was told of a smaller limit (PS3.8 D.1)
_PIECE_BYTES = 64 * 1024


class Requestor(AE):
    """pynetdicom's AE, whose connections are closed whatever becomes of them."""

    def __init__(self, ae_title: str) -> None:
        super().__init__(ae_title)
        self._sockets: list[_ClosedSocket] = []

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[SSLContext, str] | None
    ) -> AssociationSocket:
        sock = _ClosedSocket(assoc, address=address)
        sock.tls_args = tls_args
        self._sockets.append(sock)
        return sock

    def hang_up(self) -> None:
        """Close what is left of the connections: of a peer that says nothing, pynetdicom forgets it."""
        while self._sockets:
            self._sockets.pop().forget()


class _ClosedSocket(AssociationSocket):
    """pynetdicom 3.0 forgets to close a socket that was never connected, or whose peer is gone.

    And it waits for the rest of a PDU without end, and makes room for as much as the peer claims.
    """

    def forget(self) -> None:
        if self.socket:
            self.socket.close()

    def connect(self, primitive: T_CONNECT) -> None:
        super().connect(primitive)
        if self.socket:
            self.socket.settimeout(self.assoc.network_timeout)  # pynetdicom's is none

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, fewer where the connection ends before. Raises OSError if they take longer than they may.

        Then nothing more can come of the connection, and pynetdicom takes it for closed.
        """
        received = bytearray()
        try:
            self._fill(received, nr_bytes)
        finally:
            if len(received) < nr_bytes:
                self._shutdown_socket()
        return received

    def _fill(self, received: bytearray, nr_bytes: int) -> None:
        if nr_bytes > _LONGEST_PDU_BYTES:
            raise OSError(EMSGSIZE, f"a PDU of {nr_bytes} bytes")
        connection = cast(socket.socket, self.socket)
        deadline = time.monotonic() + (self.assoc.network_timeout or 0)
        while len(received) < nr_bytes:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(min(nr_bytes - len(received), _PIECE_BYTES))
            if not piece:
                return
            received += piece
        connection.settimeout(self.assoc.network_timeout)

    def _shutdown_socket(self) -> None:
        super()._shutdown_socket()
        if self.socket:
            self.socket.close()
