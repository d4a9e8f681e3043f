"""Who may store over HTTP, and how many at once; and what the metrics ask of a caller, too."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hmac import compare_digest
from typing import NoReturn

from fastapi import HTTPException
from pydantic import SecretStr

from dicom_node.addresses import is_admitted
from dicom_node.config import Settings
from dicom_node.receive.refusals import Refusal, Refusals
from dicom_node.web.privacy import is_forwarded

LOCAL_SENDER = "STOW-RS"  # where no clients are named
RETRY_AFTER = {"Retry-After": "30"}  # seconds, RFC 9110 10.2.3

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="dicom-web"'}  # RFC 6750 3
HAS_CERTIFICATE = "has_certificate"  # of a request's state: the caller showed one that http_tls.ca vouches for


class Doorkeeper:
    """Lets in, or raises HTTPException 401, 403 or 503 and tells the audit trail. For one event loop."""

    def __init__(self, settings: Settings, refusals: Refusals) -> None:
        self._settings = settings
        self._refusals = refusals
        self._places: Counter[str] = Counter()  # taken, by sender

    def sender_of(
        self, headers: Mapping[str, str], address: str, *, http_version: str = "1.1", has_certificate: bool = False
    ) -> str:
        """The name of who asks, as rows keep it in the place of a calling AE title."""
        tls = self._settings.http_tls
        if tls is not None and tls.ca is not None and not has_certificate:
            refuse(self._refusals, 403, "expected a certificate that http_tls.ca vouches for", address)
        if self._settings.stow_clients:
            return self._client(headers.get("authorization", ""), address)
        if not is_from_here(address, headers, http_version):
            refuse(self._refusals, 403, "without stow_clients, only this machine may store", address)
        return LOCAL_SENDER

    @contextmanager
    def place(self, sender: str, address: str) -> Iterator[None]:
        """One of the places for requests that are being received."""
        if self._places.total() >= self._settings.max_associations:
            refuse(self._refusals, 503, "as many requests as may be", address, sender=sender, headers=RETRY_AFTER)
        if self._places[sender] >= self._settings.max_associations_per_peer:
            why = "as many requests as one sender may have"
            refuse(self._refusals, 503, why, address, sender=sender, headers=RETRY_AFTER)
        self._places[sender] += 1
        try:
            yield
        finally:
            self._places[sender] -= 1

    def _client(self, authorization: str, address: str) -> str:
        # Every one is compared.
        known = [name for name, token in self._settings.stow_clients.items() if bears(authorization, token)]
        if not known:
            refuse(self._refusals, 401, "expected the bearer token of one of stow_clients", address, headers=_CHALLENGE)
        return known[0]


def bears(authorization: str, token: SecretStr) -> bool:
    """Whether the header Authorization holds this bearer token (RFC 6750 2.1); compared in constant time."""
    scheme, _, given = authorization.partition(" ")
    held = given.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
    return compare_digest(token.get_secret_value().encode(), held)


def is_from_here(address: str, headers: Mapping[str, str], http_version: str) -> bool:
    """Whether this machine itself asks: not a proxy, nor a page in a browser, nor somebody without an address."""
    if is_forwarded(headers, http_version) or "origin" in headers:
        return False
    try:
        return is_admitted(address, ())
    except ValueError:
        return False


def refuse(
    refusals: Refusals, status: int, why: str, address: str, *, sender: str = "", headers: dict[str, str] | None = None
) -> NoReturn:
    """Raise HTTPException, and tell it to log and audit trail."""
    refusals.tell(Refusal("request_refused", address, why, sender, str(status)))
    raise HTTPException(status, why, headers)
