"""What the fast path stands on inside pynetdicom. A failure here says: read what changed, then decide."""

import inspect
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pynetdicom
import pytest
from pynetdicom import acse, ae, association, dimse, dul, fsm, presentation, transport

# Replaced, extended or called by dicom_node/receive/{association,connection,upper_layer,listener,admission}.py,
# dicom_node/receive/{negotiation,event_report}.py and dicom_node/requestor.py.
# The digest is of the source as it was read when the fast path was written (pynetdicom 3.0.4).
STANDS_ON: dict[str, tuple[Callable[..., Any], str]] = {
    "Association.__init__": (association.Association.__init__, "eb07516b8009"),
    "Association._abort_blocking": (association.Association._abort_blocking, "10b43ef8c63c"),
    "Association._run_reactor": (association.Association._run_reactor, "f28838c5559e"),
    "Association._serve_request": (association.Association._serve_request, "2f24c1759cdf"),
    "Association.kill": (association.Association.kill, "8f9713666a7f"),
    "Association.run_reactor": (association.Association.run_reactor, "ed8bbbe3b3d6"),
    "Association.set_socket": (association.Association.set_socket, "235681dc7517"),
    "ACSE._negotiate_as_acceptor": (acse.ACSE._negotiate_as_acceptor, "fffd360957c4"),
    "ACSE.is_aborted": (acse.ACSE.is_aborted, "ad2eb3f545a9"),
    "ACSE.is_release_requested": (acse.ACSE.is_release_requested, "894b33d21a8d"),
    "ACSE.send_reject": (acse.ACSE.send_reject, "700998293bbc"),
    "ACSE.send_accept": (acse.ACSE.send_accept, "c03855deabef"),
    "negotiate_unrestricted": (presentation.negotiate_unrestricted, "344f31fc8c73"),
    "AE._create_socket": (ae.ApplicationEntity._create_socket, "f56bca8888e1"),
    "AE.make_server": (ae.ApplicationEntity.make_server, "6569298ac5cf"),
    "AssociationServer.__init__": (transport.AssociationServer.__init__, "edacb98bdfb7"),
    "AssociationServer.active_associations": (transport.AssociationServer.active_associations.fget, "2dc018cb7d13"),
    "AssociationServer.service_actions": (transport.AssociationServer.service_actions, "0a0853a3615a"),
    "AssociationSocket.__init__": (transport.AssociationSocket.__init__, "1f0325fdef2c"),
    "AssociationSocket._shutdown_socket": (transport.AssociationSocket._shutdown_socket, "e2b2628faa81"),
    "AssociationSocket.close": (transport.AssociationSocket.close, "c726c8db5381"),
    "AssociationSocket.send": (transport.AssociationSocket.send, "1ea8158c0b51"),
    "DIMSEServiceProvider.__init__": (dimse.DIMSEServiceProvider.__init__, "bbecd186810e"),
    "DIMSEServiceProvider.get_msg": (dimse.DIMSEServiceProvider.get_msg, "890e3e04283f"),
    "DIMSEServiceProvider.receive_primitive": (dimse.DIMSEServiceProvider.receive_primitive, "5f99c86b14a1"),
    "DIMSEServiceProvider.send_msg": (dimse.DIMSEServiceProvider.send_msg, "a839cf2fb469"),
    "DULServiceProvider.__init__": (dul.DULServiceProvider.__init__, "c82dafa9438d"),
    "DULServiceProvider._decode_pdu": (dul.DULServiceProvider._decode_pdu, "fc71dd1bf853"),
    "DULServiceProvider._process_recv_primitive": (dul.DULServiceProvider._process_recv_primitive, "4c0ebbb3e646"),
    "DULServiceProvider._send": (dul.DULServiceProvider._send, "a850a7919e68"),
    "DULServiceProvider.kill_dul": (dul.DULServiceProvider.kill_dul, "5ceccf8dd01c"),
    "DULServiceProvider.receive_pdu": (dul.DULServiceProvider.receive_pdu, "fa67339834ca"),
    "DULServiceProvider.run_reactor": (dul.DULServiceProvider.run_reactor, "e3a10eb3a093"),
    "DULServiceProvider.stop_dul": (dul.DULServiceProvider.stop_dul, "28a7e0be126e"),
    "RequestHandler": (transport.RequestHandler, "e2184a069d1f"),
    "StateMachine.do_action": (fsm.StateMachine.do_action, "9a883f44c7f3"),
    "ThreadedAssociationServer": (transport.ThreadedAssociationServer, "dbf94911169a"),
}  # fmt: skip


def test_the_version_is_one_that_was_read() -> None:
    assert pynetdicom.__version__.startswith("3.0.")


@pytest.mark.parametrize("name", STANDS_ON)
def test_pynetdicom_is_as_it_was_when_the_fast_path_was_written(name: str) -> None:
    found, digest = STANDS_ON[name]
    changed = f"pynetdicom changed {name}: compare with dicom_node/receive, then put the new digest here"
    assert sha256(inspect.getsource(found).encode()).hexdigest()[:12] == digest, changed


def test_the_state_machine_has_the_moves_that_the_loop_makes() -> None:
    """PS3.8 table 9-10. `UpperLayer` puts these events itself."""
    states = [f"Sta{number}" for number in (2, 3, 6, 7, 8, 9, 10, 11, 12, 13)]
    assert all((event, state) in fsm.TRANSITION_TABLE for event in ("Evt17", "Evt19") for state in states)
    assert {state for event, state in fsm.TRANSITION_TABLE if event == "Evt18"} == {"Sta2", "Sta13"}
    assert fsm.TRANSITION_TABLE["Evt10", "Sta6"] == "DT-2"
