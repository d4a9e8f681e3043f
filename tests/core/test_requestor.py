import socket
import threading
from collections.abc import Iterator

import pytest
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # names made at run time
from waiting import LONG_S, wait_until

from dicom_node.requestor import Checkpoint, Requestor

REJECTION = bytes.fromhex("0300 00000004 00010107")  # PS3.8 9.3.4: permanent, service-user, called AE title unknown


@pytest.fixture
def port() -> Iterator[int]:
    """Of a peer that rejects the association and hangs up in the same breath."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_reject, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        thread.join(LONG_S)


def _reject(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(16384)
        connection.sendall(REJECTION)


def test_a_rejection_is_heard_though_the_peer_hung_up_before_this_thread_looked(port: int) -> None:
    def wait_for_the_end(event: evt.Event) -> None:
        wait_until(lambda: event.assoc.dul.socket.socket is None, "the connection is closed")
        assert not event.assoc.dul.socket._is_connected

    ae = Requestor("CXRNODE", timeout_s=LONG_S)
    assoc = ae.associate(
        "127.0.0.1",
        port,
        contexts=[build_context(Verification)],
        evt_handlers=[(evt.EVT_REQUESTED, wait_for_the_end)],
    )
    ae.hang_up()

    assert (assoc.is_rejected, assoc.is_aborted, assoc.is_established) == (True, False, False)
    assert assoc.acceptor.primitive is not None
    assert assoc.acceptor.primitive.reason_str == "Called AE title not recognised"


def test_a_thread_that_goes_on_is_not_taken_for_one_that_stopped() -> None:
    """Who sends looks for `_is_paused`, which pynetdicom's thread sets before it looks whether it may go on."""
    assoc = Association(AE(), "requestor")
    checkpoint = Checkpoint(assoc)
    assoc._is_paused = True
    assert checkpoint.wait()
    assert not assoc._is_paused


def test_a_thread_that_may_not_go_on_stops() -> None:
    assoc = Association(AE(), "requestor")
    checkpoint = Checkpoint(assoc)
    checkpoint.clear()
    assoc._is_paused = True
    assert not checkpoint.wait(0.05)
    assert assoc._is_paused
    threading.Timer(0.05, checkpoint.set).start()
    assert checkpoint.wait(LONG_S)
    assert not assoc._is_paused


def test_its_associations_stop_there(port: int) -> None:
    ae = Requestor("CXRNODE", timeout_s=LONG_S)
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context(Verification)])
    ae.hang_up()
    assert isinstance(assoc._reactor_checkpoint, Checkpoint)
