"""Audit messages on their way to a collector: syslog (RFC 5424) over TLS (RFC 5425), as PS3.15 A.6 wants it."""

import re
import socket
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from ssl import SSLSocket

from dicom_node.peers import AuditSyslog
from dicom_node.tls import client_context

# PS3.15 A.6: facility 10 (security), severity 5 (notice)
_PRIORITY = 10 * 8 + 5
_APP_NAME, _MSG_ID = "dicom-node", "DICOM+RFC3881"
_NIL = "-"  # RFC 5424 6
_TIME = re.compile(rb'EventDateTime="([^"]{1,64})"')
_UNFIT = re.compile(r"[^!-~]")  # RFC 5424 6: PRINTUSASCII
_TIMEOUT_S = 10.0


def written_at(message: bytes) -> datetime | None:
    """None for what is no audit message."""
    found = _TIME.search(message)
    try:
        return datetime.fromisoformat(found.group(1).decode("ascii", "replace")) if found else None
    except ValueError:
        return None


def frame(message: bytes, host_name: str) -> bytes:
    """One message as it goes over the wire: octet counted (RFC 5425 4.3), in UTF-8 (RFC 5424 6.4)."""
    found = _TIME.search(message)
    time = found.group(1).decode("ascii", "replace") if found else _NIL
    host = _UNFIT.sub("?", host_name)[:255] or _NIL
    header = f"<{_PRIORITY}>1 {time} {host} {_APP_NAME} {_NIL} {_MSG_ID} {_NIL} "
    syslog = header.encode() + BOM_UTF8 + message
    return b"%d %b" % (len(syslog), syslog)


def send(collector: AuditSyslog, messages: Iterable[bytes]) -> None:
    """Returns when the collector has read all of them. Raises OSError if that is not sure.

    Syslog acknowledges no message, but who receives our close_notify has read what came before it, and has to answer
    with one (RFC 5425 4.4). So each batch has a connection of its own.
    """
    host_name = socket.gethostname()
    batch = b"".join(frame(each, host_name) for each in messages)
    with connected(collector, _TIMEOUT_S) as secured:
        secured.sendall(batch)
        secured.unwrap()


@contextmanager
def connected(collector: AuditSyslog, timeout_s: float) -> Iterator[SSLSocket]:
    """A connection while the block runs. timeout_s: the longest wait for each answer. Raises OSError."""
    with (
        socket.create_connection((collector.host, collector.port), timeout=timeout_s) as plain,
        client_context(collector.tls).wrap_socket(plain, server_hostname=collector.host) as secured,
    ):
        yield secured
