"""pynetdicom's server, repaired: nobody who is silent blocks the port or fills it; quiet errors, an end."""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import TCPServer
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node import logs
from dicom_node.addresses import household_of
from dicom_node.audit import AuditTrail
from dicom_node.receive.event_report import silence_s
from dicom_node.receive.places import Place
from dicom_node.receive.port import Port
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.receive.refusals import Refusal, Refusals
from dicom_node.tls import words_of

HANDSHAKE_TIMEOUT_S = 5.0
MOST_SILENT = 64  # connections of one address that have asked for nothing yet; more are hung up on
MOST_SILENT_IN_ALL = 256  # two descriptors each; a process has 1024 unless told otherwise
GRACE_S = 15.0  # for what is being sent when told to stop: less than `siblings` and the supervisor wait
_PAUSE_S = 1.0  # within an association; who says nothing for longer is not sending
_LAST_WORDS_S = 2.0
_LOOK_EVERY_S = 0.05

_log = logs.get("listener")


class Listener(ThreadedAssociationServer):
    """Accepts at once; shakes hands in the connection's own thread, so that a silent client holds up nobody else."""

    daemon_threads = True
    on_turn: Callable[[], object] = staticmethod(lambda: None)  # called twice a second while it accepts

    def __init__(
        self,
        *arguments: Any,
        port: Port,
        secure: Callable[[], ssl.SSLContext] | None,
        max_associations_per_s: int,
        trail: AuditTrail,
        refusals: Refusals,
        **named: Any,
    ) -> None:
        """secure: gives the TLS context of the next connection. None: no TLS."""
        self._port = port
        self._secure = secure
        self._rate = RateLimit(max_associations_per_s, burst=max_associations_per_s)
        self.trail = trail
        self._refusals = refusals
        self._lock = threading.Lock()
        self._leaving = threading.Lock()
        self._beginning: Counter[str] = Counter()  # by sender: accepted, no association yet
        super().__init__(*arguments, **named)
        trail.started()

    def callers(self) -> list[str]:
        """The calling AE title of each association that has a place, in all processes that receive."""
        own, others = self._port.exchange(self._own)
        return [each.calling_ae for each in (*own, *others)]

    def elsewhere(self) -> list[str]:
        """The other ends of the associations that other processes have."""
        _, others = self._port.exchange(self._own)
        return [each.requestor for each in others]

    def server_bind(self) -> None:
        """The socket is bound, and listens; it is not for this process alone."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self._port.listening
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """It listens since it was bound."""

    def server_close(self) -> None:
        """Leave the port to other processes: pynetdicom's shuts it down for all."""
        self._port.listening.close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Before anything is paid for: a thread, a handshake, an association."""
        why = self._why_not(household_of(client_address[0]))
        if why:
            self._refusals.tell(Refusal("connection_refused", client_address[0], why))
        return not why

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._counted(household_of(client_address[0])):
            if self._secure is not None:
                try:
                    request = _shake_hands(request, self._secure())
                except OSError as error:  # time-out, TLS error and reset are all OSErrors
                    self._refusals.tell(Refusal("handshake_refused", client_address[0], words_of(error)))
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)

    def service_actions(self) -> None:
        """Without pynetdicom's: it collects garbage here, which stops every association."""
        self._port.exchange(self._own)  # who is gone has no place any more
        self.on_turn()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # socketserver would print a traceback with values to stderr.
        _log.error("association_not_started")

    def shutdown(self) -> None:
        self.see_off()
        self._port.close()
        self.trail.stopped()

    def see_off(self) -> None:
        """Let nobody in, who is sending come to an end, and hang up on the others; then the trail has all that came.

        Harmless when called again: it returns when that is done.
        """
        with self._leaving:
            # pynetdicom's takes the server off a list that `make_server` never put it on.
            TCPServer.shutdown(self)
            self.server_close()
            _wait(self._is_silent, GRACE_S)
            for assoc in self.active_associations:
                _hang_up(assoc)
            if not _wait(lambda: not self.active_associations, _LAST_WORDS_S):
                for assoc in self.active_associations:  # its peer keeps the connection, or takes no answer
                    _cut(assoc)
                _wait(lambda: not self.active_associations, _LAST_WORDS_S)

    def _is_silent(self) -> bool:
        """Whether nobody is sending, nor about to begin."""
        return not self._beginning and all(silence_s(each) > _PAUSE_S for each in self.active_associations)

    def _own(self) -> list[Place]:
        """Of those that asked and were not turned away. Who has not asked yet takes no place from others."""
        asked = (each for each in self.active_associations if each.requestor.primitive and not each.is_rejected)
        return [Place(calling_ae_of(each), requestor_of(each)) for each in asked]

    def _why_not(self, sender: str) -> str:
        if not self._rate.allows(sender):
            return "too many connections in a second"
        silent = self._silent()
        if silent[sender] >= MOST_SILENT or silent.total() >= MOST_SILENT_IN_ALL:
            return "too many connections that ask for nothing"
        return ""

    def _silent(self) -> Counter[str]:
        """How many connections of each sender have asked for nothing yet."""
        silent = Counter(
            household_of(assoc.requestor.address)
            for assoc in self.active_associations
            if assoc.requestor.primitive is None
        )  # fmt: skip
        with self._lock:
            return silent + self._beginning

    @contextmanager
    def _counted(self, sender: str) -> Iterator[None]:
        with self._lock:
            self._beginning[sender] += 1
        try:
            yield
        finally:
            with self._lock:
                self._beginning[sender] -= 1
                if not self._beginning[sender]:
                    del self._beginning[sender]


def bound_port(server: ThreadedAssociationServer) -> int:
    """The port in use, also when any free one was asked for."""
    return server.server_address[1]


def calling_ae_of(assoc: Association) -> str:
    """As it asked. Raises AttributeError unless it did."""
    return cast(A_ASSOCIATE, assoc.requestor.primitive).calling_ae_title.strip()


def requestor_of(assoc: Association) -> str:
    """The other end of the connection, which names an association while it is open."""
    return f"{assoc.requestor.address}:{assoc.requestor.port}"


def _hang_up(assoc: Association) -> None:
    if assoc.requestor.primitive is None:  # it has not asked: there is nothing to abort
        _cut(assoc)
    else:
        assoc.abort(block=False)


def _cut(assoc: Association) -> None:
    """End the connection under whoever reads or writes it."""
    held = assoc.dul.socket
    if held is not None and held.socket is not None:
        with suppress(OSError):  # the peer was first
            socket.socket.shutdown(held.socket, socket.SHUT_RDWR)  # TLS's own forgets the keys first


def _wait(is_over: Callable[[], bool], longest_s: float) -> bool:
    """Whether it was over in time."""
    deadline = time.monotonic() + longest_s
    while not is_over() and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return is_over()


def _shake_hands(client: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Raises OSError when that fails, or lasts too long altogether."""
    client.settimeout(HANDSHAKE_TIMEOUT_S)
    secured = context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
    try:
        secured.do_handshake()
    except OSError:
        secured.close()
        raise
    secured.settimeout(None)
    return secured
