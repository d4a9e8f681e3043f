"""The values that settings are made of: each checked when it is read, and refused in one sentence."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from os.path import expanduser
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

T = TypeVar("T")

# PS3.5 6.2, VR AE: 16 characters at most, no backslash, no control character.
AeTitle = Annotated[
    str, StringConstraints(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$", strip_whitespace=True)
]
Port = Annotated[int, Field(ge=0, le=65535)]
# RFC 1123 2.1: by name or address
HostName = Annotated[str, AfterValidator(lambda name: _checked_host(name))]
# ~ is the home of who runs the node.
HomePath = Annotated[Path, AfterValidator(lambda path: Path(expanduser(path)))]
# Said in one sentence: pydantic would say what is wrong with either version of IP.
IpAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(lambda value: _read_text(value, _address))]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(lambda value: _read_text(value, _network))]
# As `openssl x509 -noout -fingerprint -sha256` writes it, with or without colons; kept as lower-case digits.
Sha256Fingerprint = Annotated[
    str,
    BeforeValidator(lambda value: value.replace(":", "").lower() if isinstance(value, str) else value),
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
]
# RFC 6750 2.1
BearerToken = Annotated[SecretStr, Field(min_length=16)]
# RFC 3986: an address of a service that is spoken to by TLS
SecureUrl = Annotated[str, AfterValidator(lambda url: _checked_url(url))]
# PS3.5 6.2, VR CS, as a value of (0008,0060)
Modality = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{1,16}$")]
# A field of an HL7 message, and a component of it where not the usual one: OBR-18, ZDS-1.2
Hl7Path = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9]{2}-[1-9]\d{0,2}(\.[1-9]\d?)?$")]
# The name of a destination is a key in the database and in logs.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]

# HL7 table 0211: the sets in which every byte of a delimiter is a delimiter. ASCII is an empty MSH-18.
Hl7CharacterSet = Literal[
    "ASCII", "8859/1", "8859/2", "8859/3", "8859/4", "8859/5", "8859/6", "8859/7", "8859/8", "8859/9", "8859/15",
    "UNICODE UTF-8",
]  # fmt: skip


def _read_text(value: object, read: Callable[[str], T]) -> object:
    return read(value) if isinstance(value, str) else value


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise ValueError("expected an address such as 10.1.0.5") from error


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        found = ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("expected addresses such as 10.1.0.0/16, or one such as 10.1.0.5") from error
    if ip_address(text.partition("/")[0]) != found.network_address:
        raise ValueError(f"expected {found} for all of these, or {text.partition('/')[0]} for this one")
    return found


def _checked_host(name: str) -> str:
    """Raises ValueError for what Python does not even ask the system for: it would be no error of the network."""
    try:
        name.encode("idna")
        is_host = name.split() == [name] and "/" not in name
    except UnicodeError:  # between two dots is nothing, or more than 63 characters
        is_host = False
    if not is_host:
        raise ValueError("expected a host name or an address, such as pacs.example.org or 10.1.0.5")
    return name


def _checked_url(url: str) -> str:
    """Raises ValueError unless nobody on the way can read what goes there: by TLS, or within this machine."""
    parts = urlsplit(url)
    is_near = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not (parts.scheme == "https" or is_near) or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("expected https://… (http:// within this machine alone) without ? and #")
    _checked_host(parts.hostname)
    return url
