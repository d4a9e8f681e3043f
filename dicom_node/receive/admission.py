"""Who may come in, and when there is room, before anything else is negotiated (PS3.8 9.3.4)."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import cast

from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationServer

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.storage import InstanceStore

Rejection = tuple[int, int, int]  # PS3.8 table 9-21: result, source, reason

CALLING_AE_NOT_RECOGNISED: Rejection = (1, 1, 3)
LOCAL_LIMIT_EXCEEDED: Rejection = (2, 3, 2)  # transient: the sender comes again

_log = logs.get("admission")


def is_welcome(settings: Settings, calling_ae: str, address: str) -> bool:
    """Whether the settings let this AE title come from this address. Without peers, only this machine may."""
    try:
        source = ip_address(address)
    except ValueError:
        return False
    if isinstance(source, IPv6Address):
        source = source.ipv4_mapped or source  # how IPv4 arrives at a port bound to "::"
    if not settings.peers:
        return source.is_loopback
    peer = settings.peers.get(calling_ae)
    if peer is None:
        return False
    return not peer.addresses or any(source in network for network in peer.addresses)


def make_doorkeeper(settings: Settings, store: InstanceStore) -> Callable[[Event], None]:
    """A handler of EVT_REQUESTED that rejects whom there is no place for; the rest goes on to negotiation."""

    def on_requested(event: Event) -> None:
        assoc = event.assoc
        rejection = _rejection(settings, store, assoc)
        if rejection is None:
            return
        _log.warning("association_refused", calling_ae=_calling_ae(assoc), code="/".join(map(str, rejection)))
        assoc.acse.send_reject(*rejection)
        assoc.kill()

    return on_requested


def _rejection(settings: Settings, store: InstanceStore, assoc: Association) -> Rejection | None:
    calling_ae = _calling_ae(assoc)
    if not is_welcome(settings, calling_ae, assoc.requestor.address):
        return CALLING_AE_NOT_RECOGNISED
    server = cast(AssociationServer, assoc._server)  # None only where we ask for an association
    callers = [_calling_ae(other) for other in _with_a_place(server.active_associations)]
    is_full = len(callers) > settings.max_associations or callers.count(calling_ae) > settings.max_associations_per_peer
    if is_full or not store.has_room():
        return LOCAL_LIMIT_EXCEEDED
    return None


def _with_a_place(associations: Iterable[Association]) -> Iterable[Association]:
    """Those that asked and were not turned away. Who has not asked yet takes no place from others."""
    return (each for each in associations if each.requestor.primitive is not None and not each.is_rejected)


def _calling_ae(assoc: Association) -> str:
    return cast(A_ASSOCIATE, assoc.requestor.primitive).calling_ae_title.strip()
