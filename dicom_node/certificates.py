"""The little of X.509 (RFC 5280) that Python's ssl does not tell of our own certificate, and of CRLs."""

import re
import ssl
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

WARN_BEFORE = timedelta(days=14)
WARN_BEFORE_CRL = timedelta(hours=12)

_FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_CRL = re.compile("-----BEGIN X509 CRL-----(.+?)-----END X509 CRL-----", re.DOTALL)  # RFC 7468 7
_INTEGER, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x17, 0x18  # X.690 8.3, X.680 46, 47: tags


def expires_at(pem_file: Path) -> datetime:
    """When the first certificate of the file ends: notAfter (RFC 5280 4.1.2.5).

    Raises OSError if the file cannot be read or does not begin with a whole certificate.
    """
    found = _FIRST_CERTIFICATE.search(pem_file.read_text(encoding="ascii", errors="replace"))
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(found[0] if found else ""))
    except (ValueError, LookupError) as error:
        raise OSError(f"no certificate in {pem_file.name}") from error


def crls_left(pem_file: Path, now: datetime) -> timedelta | None:
    """Until some authority's newest CRL in the file is out of date: nextUpdate (RFC 5280 5.1.2.5). None: never.

    Raises OSError if the file cannot be read or a CRL in it is none.
    """
    newest: dict[bytes, datetime] = {}
    for found in _CRL.findall(pem_file.read_text(encoding="ascii", errors="replace")):
        try:
            issuer, end = _next_update(b64decode(found))
        except (ValueError, LookupError) as error:
            raise OSError(f"a CRL that is none in {pem_file.name}") from error
        if end is not None:
            newest[issuer] = max(end, newest.get(issuer, end))
    return min(newest.values()) - now if newest else None


def _next_update(crl: bytes) -> tuple[bytes, datetime | None]:
    """The issuer, and when the next CRL will be there at the latest, if it says so."""
    ((_, content),) = _elements(crl)
    ((_, to_be_signed), *_) = _elements(content)
    fields = list(_elements(to_be_signed))
    # An optional version, then signature algorithm, issuer, this update, an optional next update (RFC 5280 5.1)
    this_update = [tag in (_UTC_TIME, _GENERALIZED_TIME) for tag, _ in fields].index(True)
    _, issuer = fields[this_update - 1]
    tag, value = (*fields, (0, b""))[this_update + 1]
    return issuer, _time(tag, value) if tag in (_UTC_TIME, _GENERALIZED_TIME) else None


def _not_after(certificate: bytes) -> datetime:
    ((_, content),) = _elements(certificate)
    ((_, to_be_signed), *_) = _elements(content)
    fields = list(_elements(to_be_signed))
    # An optional version, then serial number, signature algorithm, issuer, validity (RFC 5280 4.1)
    serial_number = [tag for tag, _ in fields].index(_INTEGER)
    _, (tag, value) = _elements(fields[serial_number + 3][1])
    return _time(tag, value)


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280 4.1.2.5.1: its year has two digits
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of one DER element after the other (X.690 8.1)."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:  # so many digits of the size follow
            digits = size & 0x7F
            size, at = int.from_bytes(der[at : at + digits], "big"), at + digits
        yield tag, der[at : at + size]
        at += size
