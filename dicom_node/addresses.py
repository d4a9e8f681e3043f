"""Who calls, by address."""

import sys
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

_ROUTES = Path("/proc/net/route")  # of IPv4, as proc(5) has it


def source_of(address: str) -> IPv4Address | IPv6Address:
    source = ip_address(address)
    if isinstance(source, IPv6Address):
        return source.ipv4_mapped or source  # how IPv4 arrives at a port bound to "::"
    return source


@lru_cache(maxsize=1024)
def household_of(address: str) -> str:
    """Whom limits count: an IPv4 address, or the /64 of an IPv6 one, of which one machine has all (RFC 4291 2.5.4).

    What is no address is its own.
    """
    try:
        source = source_of(address)
    except ValueError:
        return address
    return str(source) if source.version == 4 else str(IPv6Network((source, 64), strict=False))


def is_admitted(address: str, networks: Collection[IPv4Network | IPv6Network]) -> bool:
    """Whether it lies in one of the networks; without any, whether it is this machine."""
    source = source_of(address)
    return any(source in network for network in networks) if networks else source.is_loopback


def is_gateway(address: str, routes: Path = _ROUTES) -> bool:
    """Whether it is the default gateway of this machine or container. Where there are no routes to read, none is."""
    try:
        lines = routes.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return False
    fields = (line.split() for line in lines)
    return source_of(address) in [
        _from_hex(gateway) for _, destination, gateway, *_ in fields if not int(destination, 16)
    ]


def _from_hex(address: str) -> IPv4Address:
    """As the kernel prints it: in the byte order of the machine."""
    return IPv4Address(int(address, 16).to_bytes(4, sys.byteorder))
