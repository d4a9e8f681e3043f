"""Who may come in, and when there is room, before anything else is negotiated (PS3.8 9.3.4)."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, cast

from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node.addresses import is_admitted
from dicom_node.config import Settings
from dicom_node.receive.listener import Listener, calling_ae_of
from dicom_node.receive.refusals import Refusal, Refusals
from dicom_node.storage import InstanceStore

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1


class Rejection(NamedTuple):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and why, which stays in this house."""

    result: int
    source: int
    reason: int
    why: str


UNKNOWN_APPLICATION_CONTEXT = Rejection(1, 1, 2, "application context is not DICOM's")
UNKNOWN_CALLING_AE = Rejection(1, 1, 3, "calling AE title is not one of the peers")
NOT_THIS_MACHINE = UNKNOWN_CALLING_AE._replace(why="without peers, only this machine may send")
WRONG_ADDRESS = UNKNOWN_CALLING_AE._replace(why="address is not one of the calling AE title")
WRONG_CERTIFICATE = UNKNOWN_CALLING_AE._replace(why="certificate is not one of the calling AE title")
UNKNOWN_CALLED_AE = Rejection(1, 1, 7, "called AE title is not ours")
# Transient: the sender comes again.
FAULT_OF_OURS = Rejection(2, 3, 1, "could not be decided: a fault of this program")
NO_PLACE = Rejection(2, 3, 2, "as many associations as may be")
NO_PLACE_FOR_THIS_AE = NO_PLACE._replace(why="as many associations as one calling AE title may have")
NO_ROOM = NO_PLACE._replace(why="less disk is free than is kept back")


@dataclass(frozen=True)
class Caller:
    """Who asks for an association, as far as that can be seen."""

    calling_ae: str
    called_ae: str
    address: str
    certificate_sha256: str | None = None  # of the client's, hex; None without TLS
    application_context: str = APPLICATION_CONTEXT


def judge(settings: Settings, caller: Caller) -> Rejection | None:
    """Whether the settings let this caller in."""
    if caller.application_context != APPLICATION_CONTEXT:
        return UNKNOWN_APPLICATION_CONTEXT
    rejection = _judge_identity(settings, caller)
    if rejection is None and caller.called_ae != settings.ae_title:
        return UNKNOWN_CALLED_AE
    return rejection


def _judge_identity(settings: Settings, caller: Caller) -> Rejection | None:
    if not settings.peers:
        return None if is_admitted(caller.address, ()) else NOT_THIS_MACHINE
    peer = settings.peers.get(caller.calling_ae)
    if peer is None:
        return UNKNOWN_CALLING_AE
    if peer.addresses and not is_admitted(caller.address, peer.addresses):
        return WRONG_ADDRESS
    if peer.certificate_sha256 and caller.certificate_sha256 not in peer.certificate_sha256:
        return WRONG_CERTIFICATE
    return None


def make_doorkeeper(settings: Settings, store: InstanceStore, refusals: Refusals) -> Callable[[Event], None]:
    """A handler of EVT_REQUESTED that rejects whom there is no place for; the rest goes on to negotiation."""

    def on_requested(event: Event) -> None:
        assoc = event.assoc
        rejection: Rejection | None = FAULT_OF_OURS  # pynetdicom would go on after an error
        try:
            rejection = judge(settings, _caller(assoc)) or _judge_room(settings, store, assoc)
        finally:
            if rejection is not None:
                _reject(assoc, rejection, refusals)

    return on_requested


def _reject(assoc: Association, rejection: Rejection, refusals: Refusals) -> None:
    code = rejection[:3]
    assoc.acse.send_reject(*code)
    assoc.kill()
    requestor = assoc.requestor
    words = "/".join(map(str, code))
    refusals.tell(Refusal("association_refused", requestor.address, rejection.why, calling_ae_of(assoc), words))


def _judge_room(settings: Settings, store: InstanceStore, assoc: Association) -> Rejection | None:
    callers = cast(Listener, assoc._server).callers()
    if len(callers) > settings.max_associations:
        return NO_PLACE
    if callers.count(calling_ae_of(assoc)) > settings.max_associations_per_peer:
        return NO_PLACE_FOR_THIS_AE
    return None if store.has_room() else NO_ROOM


def _caller(assoc: Association) -> Caller:
    request = _request(assoc)
    return Caller(
        calling_ae=calling_ae_of(assoc),
        called_ae=request.called_ae_title.strip(),
        address=assoc.requestor.address,
        certificate_sha256=_certificate_sha256(assoc),
        application_context=str(request.application_context_name or "").rstrip("\0"),
    )


def _request(assoc: Association) -> A_ASSOCIATE:
    return cast(A_ASSOCIATE, assoc.requestor.primitive)


def _certificate_sha256(assoc: Association) -> str | None:
    client = assoc.dul.socket and assoc.dul.socket.socket
    certificate = client.getpeercert(binary_form=True) if isinstance(client, ssl.SSLSocket) else None
    return sha256(certificate).hexdigest() if certificate else None
