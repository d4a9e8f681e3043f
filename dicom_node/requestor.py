"""Associations that this node opens."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EMSGSIZE
from ssl import SSLContext
from typing import Any, cast

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AddressInformation, AssociationSocket

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.peers import DicomPeer, PeerAddress
from dicom_node.tls import client_context

_LONGEST_PDU_BYTES = 1024 * 1024  # received; the peer was told of a smaller limit (PS3.8 D.1)
_PIECE_BYTES = 64 * 1024


class Requestor(AE):
    """pynetdicom's AE, whose connections are closed whatever becomes of them."""

    def __init__(self, ae_title: str, *, timeout_s: float) -> None:
        """timeout_s: the longest wait for a connection and for each answer."""
        super().__init__(ae_title)
        self.connection_timeout = self.acse_timeout = self.dimse_timeout = timeout_s
        self.network_timeout = None  # aborts of itself what may be released at the same moment; each wait has its end
        self._sockets: list[_ClosedSocket] = []

    def associate(self, *args: Any, **options: Any) -> Association:
        assoc = super().associate(*args, **options)
        _hear_rejection(assoc)
        return assoc

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: tuple[SSLContext, str] | None
    ) -> AssociationSocket:
        assoc._reactor_checkpoint = Checkpoint(assoc)
        sock = _ClosedSocket(assoc, address=address)
        sock.tls_args = tls_args
        self._sockets.append(sock)
        return sock

    @property
    def has_connected(self) -> bool:
        """With TLS: the handshake went well, too."""
        return any(sock.was_connected for sock in self._sockets)

    def hang_up(self) -> None:
        """Close what is left of the connections: of a peer that says nothing, pynetdicom forgets it."""
        while self._sockets:
            self._sockets.pop().forget()


@contextmanager
def opened(
    ae: Requestor,
    to: DicomPeer | PeerAddress,
    called_ae: str,
    *,
    contexts: Sequence[PresentationContext],
    refusal: str,
    **options: Any,
) -> Iterator[Association]:
    """An association while the block runs; its connection is closed after that.

    refusal: what is said of a peer that takes none of the contexts. options: of `AE.associate`.
    Raises PeerUnreachable if there is no association, PeerRejected if the peer takes none of the contexts.
    """
    try:
        assoc = _associate(ae, to, called_ae, contexts=list(contexts), **options)
        if not assoc.is_established:
            if assoc.rejected_contexts:
                raise PeerRejected(f"{called_ae} {refusal}")
            raise PeerUnreachable(f"{called_ae} {no_association(ae, assoc, is_tls=bool(to.tls))}")
        try:
            yield assoc
        finally:
            if assoc.is_established:
                assoc.release()
    finally:
        ae.hang_up()


def _associate(ae: Requestor, to: DicomPeer | PeerAddress, called_ae: str, **options: Any) -> Association:
    try:
        return ae.associate(to.host, to.port, ae_title=called_ae, tls_args=tls_args(to), **options)
    except OSError as error:  # its certificates, or what comes before the attempt to connect
        raise PeerUnreachable(f"{called_ae} cannot be reached: {error.strerror or type(error).__name__}") from error


def tls_args(to: DicomPeer | PeerAddress) -> tuple[SSLContext, str] | None:
    """As `AE.associate` wants them, of the files as they are now: they may have been replaced. Raises OSError."""
    return (client_context(to.tls), to.host) if to.tls else None


def no_association(ae: Requestor, assoc: Association, *, is_tls: bool) -> str:
    """Why there is none, in words that follow the name of the peer."""
    if not ae.has_connected:
        return f"cannot be reached: {'no connection or no TLS' if is_tls else 'no connection'}"
    if assoc.is_rejected:
        return f"rejected the association ({_rejection_in_words(assoc)})"
    refused = ", or does not take this node's certificate (TLS)" if is_tls else ""
    return f"did not answer the request for an association, or aborted it{refused}"


def _rejection_in_words(assoc: Association) -> str:
    # PS3.8 9.3.4: result, source and reason of an A-ASSOCIATE-RJ
    answer = assoc.acceptor.primitive
    return f"{answer.result_str}, {answer.reason_str}".lower() if answer else "no reason given"


def _hear_rejection(assoc: Association) -> None:
    """pynetdicom 3.0 takes a peer that rejects and hangs up at once, as DCMTK does, for one that was never reached."""
    answer = assoc.dul.peek_next_pdu()
    if assoc.is_aborted and isinstance(answer, A_ASSOCIATE) and answer.result:
        assoc.acceptor.primitive = answer
        assoc.is_aborted, assoc.is_rejected = False, True


class Checkpoint(threading.Event):
    """Where an association's thread stops while somebody else waits for an answer on it.

    pynetdicom 3.0 says that the thread has stopped until a moment after it went on: it may then take the answer for a
    message to be served, and who waits for it waits in vain.
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__()
        self.set()
        self._association = assoc
        self._passing = threading.Lock()

    def clear(self) -> None:
        with self._passing:
            super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """As the association's thread does: when it has passed, it is known to go on."""
        while super().wait(timeout):
            with self._passing:
                if self.is_set():
                    self._association._is_paused = False
                    return True
        return False


class _ClosedSocket(AssociationSocket):
    """pynetdicom 3.0 forgets to close a socket that was never connected, or whose peer is gone.

    And it waits for the rest of a PDU without end, and makes room for as much as the peer claims.
    """

    was_connected = False

    def forget(self) -> None:
        if self.socket:
            self.socket.close()

    def connect(self, primitive: T_CONNECT) -> None:
        super().connect(primitive)
        self.was_connected = primitive.result == "Evt2"  # PS3.8 9.2.1: transport connection confirmation
        if self.socket:
            self.socket.settimeout(self.assoc.dimse_timeout)  # pynetdicom's is none

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
        deadline = time.monotonic() + (self.assoc.dimse_timeout or 0)
        while len(received) < nr_bytes:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(min(nr_bytes - len(received), _PIECE_BYTES))
            if not piece:
                return
            received += piece
        connection.settimeout(self.assoc.dimse_timeout)

    def _shutdown_socket(self) -> None:
        super()._shutdown_socket()
        if self.socket:
            self.socket.close()
