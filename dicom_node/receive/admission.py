"""Who may come in: called and calling AE title and address, before anything else is negotiated (PS3.8 9.3.4)."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import cast

from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node import logs
from dicom_node.config import Settings

# PS3.8 table 9-21: result, source, reason
_PERMANENT, _BY_USER, _CALLING_AE_NOT_RECOGNISED = 1, 1, 3

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


def make_doorkeeper(settings: Settings) -> Callable[[Event], None]:
    """A handler of EVT_REQUESTED that rejects whoever is not welcome; the rest goes on to pynetdicom's negotiation."""

    def on_requested(event: Event) -> None:
        assoc = event.assoc
        request = cast(A_ASSOCIATE, assoc.requestor.primitive)  # EVT_REQUESTED: it has come
        calling_ae = request.calling_ae_title.strip()
        if is_welcome(settings, calling_ae, assoc.requestor.address):
            return
        _log.warning("association_refused", calling_ae=calling_ae, code="1/1/3")
        assoc.acse.send_reject(_PERMANENT, _BY_USER, _CALLING_AE_NOT_RECOGNISED)
        assoc.kill()

    return on_requested
