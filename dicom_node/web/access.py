"""Who may store over HTTP, and how many at once."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hmac import compare_digest
from typing import NoReturn

from fastapi import HTTPException

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
            self._refuse(403, "expected a certificate that http_tls.ca vouches for", address=address)
        if self._settings.stow_clients:
            return self._client(headers.get("authorization", ""), address)
        if not is_this_machine(address) or is_from_elsewhere(headers, http_version):
            self._refuse(403, "without stow_clients, only this machine may store", address=address)
        return LOCAL_SENDER

    @contextmanager
    def place(self, sender: str, address: str) -> Iterator[None]:
        """One of the places for requests that are being received."""
        if self._places.total() >= self._settings.max_associations:
            self._refuse(503, "as many requests as may be", address=address, sender=sender, headers=RETRY_AFTER)
        if self._places[sender] >= self._settings.max_associations_per_peer:
            self._refuse(
                503, "as many requests as one sender may have", address=address, sender=sender, headers=RETRY_AFTER
            )
        self._places[sender] += 1
        try:
            yield
        finally:
            self._places[sender] -= 1

    def _client(self, authorization: str, address: str) -> str:
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
        # Every one is compared, each in constant time.
        clients = self._settings.stow_clients.items()
        known = [name for name, secret in clients if compare_digest(secret.get_secret_value().encode(), given)]
        if not known:
            self._refuse(401, "expected the bearer token of one of stow_clients", address=address, headers=_CHALLENGE)
        return known[0]

    def _refuse(
        self, status: int, why: str, *, address: str, sender: str = "", headers: dict[str, str] | None = None
    ) -> NoReturn:
        self._refusals.tell(Refusal("request_refused", address, why, sender, str(status)))
        raise HTTPException(status, why, headers)


def is_from_elsewhere(headers: Mapping[str, str], http_version: str) -> bool:
    """Whether a request comes through a proxy or out of a browser's page: it is not this machine that asks."""
    return is_forwarded(headers, http_version) or "origin" in headers


def is_this_machine(address: str) -> bool:
    """Whether a request comes from this machine; nobody knows where one without an address comes from."""
    try:
        return is_admitted(address, ())
    except ValueError:
        return False
