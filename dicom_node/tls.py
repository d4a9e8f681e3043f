"""TLS for DICOM, MLLP and HTTP by BCP 195 (RFC 9325), as PS3.15 B.12 and, older, B.9 and B.10 take it over.

Both ends show a certificate, but browsers need none. Spoken are TLS 1.2 and 1.3, with nothing but forward secrecy and
authenticated encryption.
"""

import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from dicom_node import logs
from dicom_node.certificates import WARN_BEFORE, expires_at
from dicom_node.clock import Clock, utc_now
from dicom_node.errors import Permanent
from dicom_node.peers import HttpTls, Tls

# RFC 9325 4.2 for TLS 1.2; TLS 1.3 has no others. Security level 2 leaves out RSA keys below 2048 bits, curves below
# 224 and SHA-1 (RFC 9325 4.5).
_CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"
_LOOK_EVERY_S = 1.0
_RENEW_AFTER_S = 86_400.0  # RFC 9325 3.4: the keys of session tickets, which a context makes, are not to live long
_TRY_AGAIN_AFTER_S = 60.0  # what cannot be read now may be later: a disk that is away, too many open files

Files = TypeVar("Files", bound=HttpTls)
_Stamp = tuple[int, int, int]

_log = logs.get("tls")


def client_context(tls: Tls) -> ssl.SSLContext:
    """For the end that connects. It also checks that the certificate names the host it called.

    Raises OSError if a file is missing or is not what the setting says.
    """
    return _mutual(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def server_context(tls: Tls) -> ssl.SSLContext:
    """For the end that listens. A caller without a certificate of our authorities is turned away.

    Raises OSError if a file is missing or is not what the setting says.
    """
    context = _mutual(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
    # A sender that closes without reading its TLS 1.3 tickets resets the connection under its own last words.
    context.num_tickets = 0
    return context


def http_context(tls: HttpTls) -> ssl.SSLContext:
    """For the HTTP port. A caller may come without a certificate; one that is shown has to be good.

    Raises OSError if a file is missing or is not what the setting says.
    """
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)
    if tls.ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        _trust(context, tls.ca)
    return context


class RenewingContext(Generic[Files]):
    """The context of the certificate files as they are now, so that they can be replaced under a running node.

    Whoever is connected stays connected. A replacement that cannot be used (half of it is there, key and certificate do
    not belong together) is logged once, and the context before it goes on.
    """

    def __init__(
        self,
        tls: Files,
        make: Callable[[Files], ssl.SSLContext],
        *,
        clock: Clock = utc_now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises Permanent if a file is missing or is not what the setting says."""
        self._tls = tls
        self._make = make
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._seen: list[_Stamp | None] = []
        self._renew_at = 0.0
        self._is_stale = False  # what it has is older than the files, or than a day
        try:
            self._renew()
        except OSError as error:
            raise Permanent(f"{named(tls)} make no TLS: {words_of(error)}") from error

    def current(self) -> ssl.SSLContext:
        """The context to make the next connection with. The files are looked at once a second at most."""
        with self._lock:
            if self._timer() >= self._look_at:
                self._look()
            return self._context

    def _look(self) -> None:
        self._look_at = self._timer() + _LOOK_EVERY_S
        is_new = self._stamps() != self._seen
        if not is_new and self._timer() < self._renew_at:
            return
        try:
            self._renew()
        except OSError as error:
            if is_new or not self._is_stale:
                _log.error("certificate_not_renewed", reason=words_of(error))
            self._is_stale = True
            self._renew_at = self._timer() + _TRY_AGAIN_AFTER_S

    def _renew(self) -> None:
        now = self._timer()
        self._look_at, self._renew_at = now + _LOOK_EVERY_S, now + _RENEW_AFTER_S
        self._seen = self._stamps()  # before they are read: what changes meanwhile is read again
        context, left = self._make(self._tls), expires_at(self._tls.certificate) - self._clock()
        self._context, self._is_stale = context, False
        say = _log.warning if left < WARN_BEFORE else _log.info
        say("certificate_loaded", due_in_s=int(left.total_seconds()))

    def _stamps(self) -> list[_Stamp | None]:
        return [_stamp(path) for path in _files(self._tls)]


def named(tls: HttpTls) -> str:
    """Its files, for a sentence."""
    *others, last = map(str, _files(tls))
    return f"{', '.join(others)} and {last}"


def words_of(error: OSError) -> str:
    """Why TLS failed, in OpenSSL's words: they hold nothing that the other end said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, TimeoutError):
        return "timed out"
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or error.strerror or str(error)).partition(" (_ssl.c")[0].lower().replace("_", " ")


def _stamp(path: Path) -> _Stamp | None:
    """What changes when a file is written, replaced or made readable; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_ctime_ns


def _files(tls: HttpTls) -> tuple[Path, ...]:
    return tuple(path for path in (tls.certificate, tls.key, tls.ca) if path is not None)


def _mutual(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    _strict(context, tls).verify_mode = ssl.CERT_REQUIRED
    return _trust(context, tls.ca)


def _trust(context: ssl.SSLContext, ca: Path) -> ssl.SSLContext:
    context.load_verify_locations(cafile=ca)
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _strict(context: ssl.SSLContext, tls: HttpTls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION  # RFC 9325 3.3, 3.5
    context.set_ciphers(_CIPHERS)
    # A password of our own, or OpenSSL asks for that of an encrypted key at the terminal, and waits.
    context.load_cert_chain(tls.certificate, tls.key, password="")
    return context
