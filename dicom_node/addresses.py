"""Who calls, by address."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address


def source_of(address: str) -> IPv4Address | IPv6Address:
    source = ip_address(address)
    if isinstance(source, IPv6Address):
        return source.ipv4_mapped or source  # how IPv4 arrives at a port bound to "::"
    return source


def is_admitted(address: str, networks: Collection[IPv4Network | IPv6Network]) -> bool:
    """Whether it lies in one of the networks; without any, whether it is this machine."""
    source = source_of(address)
    return any(source in network for network in networks) if networks else source.is_loopback
