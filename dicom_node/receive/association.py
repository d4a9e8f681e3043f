"""pynetdicom's acceptor, woken by what happens; who asks for nothing takes no place."""

import threading
import time
from typing import Any

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import DimseServiceType
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import RequestHandler

from dicom_node import logs
from dicom_node.receive.connection import Connection, RingingQueue
from dicom_node.receive.intake import Intake
from dicom_node.receive.transfers import TransferBook
from dicom_node.receive.upper_layer import UpperLayer

_LONGEST_WAIT_S = 5.0

_log = logs.get("association")


class FastAssociation(Association):
    """An association whose upper layer is `UpperLayer`. Its own thread negotiates and serves all but C-STORE."""

    def __init__(self, ae: Any, intake: Intake, book: TransferBook) -> None:
        self.bell = threading.Event()
        self.is_serving = False
        super().__init__(ae, MODE_ACCEPTOR)
        self.dul = UpperLayer(self, intake, book, max_pdu_bytes=ae.maximum_pdu_size)
        self.dimse.msg_queue = RingingQueue(self.bell)
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout  # sets the new one's timers

    def run_reactor(self) -> None:
        """From the connection to its end."""
        self.dul.start()
        self._started_dul = True
        try:
            self._serve_peer()
        except Exception as error:  # noqa: BLE001  pynetdicom raises what it likes on what a stranger sent
            _log.warning("association_failed", trace=logs.places(error))
            self.abort(block=False)
        self.kill()

    def _serve_peer(self) -> None:
        request = self.dul.receive_pdu(wait=True, timeout=self.acse_timeout)
        if request is None:
            self.dul.kill_dul()  # it may have come just now: nobody would answer it
        if isinstance(request, A_ASSOCIATE):
            self.requestor.primitive = request
            self._negotiate()
            if self.is_established:
                self._run_reactor()

    def kill(self) -> None:
        """End both threads, and wait for the other one."""
        self._reactor_checkpoint.set()
        self._kill = True
        self.is_established = False
        self._is_paused = True
        self.bell.set()
        if self.dul.is_alive():
            self.dul.stop_dul()

    def _negotiate(self) -> None:
        evt.trigger(self, evt.EVT_REQUESTED, {})
        if not self.is_aborted and not self.is_rejected:  # by a handler
            self.acse.negotiate_association()

    def _run_reactor(self) -> None:
        self._is_paused = False
        while not self._kill and not self._has_ended():
            self.bell.wait(min(max(self.dul._idle_timer.remaining, 0.01), _LONGEST_WAIT_S))
            self.bell.clear()
            # Whoever sends requests of its own on this association stops this thread meanwhile.
            self._is_paused = True
            self._reactor_checkpoint.wait()
            self._is_paused = False
            self._serve()

    def _serve_request(self, msg: DimseServiceType, context_id: int) -> None:
        """One after the other: pynetdicom makes a thread for each N-EVENT-REPORT, however many come at once."""
        if threading.current_thread() is self:
            self.is_serving = True
            super()._serve_request(msg, context_id)
            self.is_serving = False
        else:
            self.dimse.msg_queue.put((context_id, msg))

    def _serve(self) -> None:
        while True:
            context_id, message = self.dimse.get_msg(block=False)
            if message is None or context_id is None:
                return
            self._serve_request(message, context_id)

    def _has_ended(self) -> bool:
        """Whether the association was released, aborted or forgotten by the peer; then all that follows is done."""
        if self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released = True
            evt.trigger(self, evt.EVT_RELEASED, {})
        elif self.acse.is_aborted():
            self.is_aborted = True
            evt.trigger(self, evt.EVT_ABORTED, {})
        elif self.dul.idle_timer_expired():
            self.abort(block=False)
        else:
            return False
        self.is_established = False
        return True


class FastRequestHandler(RequestHandler):
    """Makes an association of each connection."""

    def __init__(self, request: Any, client_address: Any, server: Any, *, intake: Intake, book: TransferBook) -> None:
        self._intake, self._book = intake, book
        super().__init__(request, client_address, server)  # which calls `handle`

    def _create_association(self) -> FastAssociation:
        assoc = FastAssociation(self.ae, self._intake, self._book)
        assoc._server = self.server
        assoc.name = f"AcceptorThread@{time.time_ns()}"  # pynetdicom counts threads of this name
        assoc.set_socket(Connection(assoc, self.request, timeout_s=self.ae.network_timeout))
        acceptor = assoc.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = self.server.contexts  # not copied: negotiation does not change them
        assoc.requestor.address_info = self.remote
        self._bind_handlers(assoc)
        return assoc

    def _bind_handlers(self, assoc: FastAssociation) -> None:
        for event, handlers in self.server._handlers.items():
            # Of an intervention there is one, of a notification there are many.
            for handler in handlers if isinstance(handlers, list) else [handlers]:
                assoc.bind(event, *handler)
