"""Where a request comes from: from the socket's other end or, behind proxies that are trusted, from where they say."""

import re

from starlette.requests import Request

from dicom_node.addresses import is_admitted, source_of
from dicom_node.config import Settings
from dicom_node.web.refused import PageRefused

# An address; some proxies write its port, too.
_HOP = re.compile(r"([0-9.]+)(?::[0-9]+)?|\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9A-Fa-f:.]+)")
_NO_ADDRESS = "The proxy before this node sends an X-Forwarded-For that is no list of addresses."


def caller_of(settings: Settings, request: Request) -> str:
    """The address; empty if nobody knows.

    The right-most one that is no proxy's of ours: what stands left of it, the caller may have written himself.
    Raises PageRefused where a proxy of ours hands on what is no address.
    """
    address = request.client.host if request.client else ""
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    hops = [hop for hop in map(str.strip, said) if hop]
    while hops and _is_proxy(settings, address):
        address = _address(hops.pop())
    return address


def _is_proxy(settings: Settings, address: str) -> bool:
    return bool(settings.http_proxies and address) and is_admitted(address, settings.http_proxies)


def _address(hop: str) -> str:
    found = _HOP.fullmatch(hop)
    try:
        return str(source_of(found[found.lastindex or 0] if found else ""))
    except ValueError as error:
        raise PageRefused(400, _NO_ADDRESS) from error
