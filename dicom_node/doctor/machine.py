"""Checks of this machine: folder, disk, ports, certificates."""

import errno
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile

from sqlalchemy.exc import DBAPIError

from dicom_node.certificates import WARN_BEFORE_CRL, crls_left, expires_at
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, opened, opened_current, schema_revision
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok, warning
from dicom_node.errors import Permanent, StorageAway
from dicom_node.health import conditions_here
from dicom_node.heartbeat import SILENT_AFTER_S
from dicom_node.image_folder import require_mounted
from dicom_node.tls import Files, client_context, http_context, named, server_context, words_of

_WARN_BEFORE = timedelta(days=30)
_HOUR = timedelta(hours=1)


def check_folder(settings: Settings) -> Iterator[Diagnosis]:
    """Can files be made in the data folder and in those of the images, and made durable?"""
    yield _folder(
        "data folder", settings.data_dir.absolute(), "the right to write there, or set data_dir to another folder"
    )
    what, images = "image folder", settings.instances_dir.absolute()
    if found := _not_mounted(settings):
        words, _, fix = found.partition(": ")
        yield fault(what, words, fix)
    elif images.exists():
        # Made all at once, by the first role that needs them: one may stand for the rest.
        one = min((each for each in images.glob("??") if each.is_dir()), default=images)
        yield _folder(what, one, f"all that is in {images}")


def _not_mounted(settings: Settings) -> str:
    """Why no role would start, in words; empty where one would, or no database can be asked, which its check tells."""
    try:
        with opened_current(settings) as engine:
            require_mounted(settings, Sessions(engine))
    except StorageAway as error:
        return str(error)
    except (Permanent, DBAPIError, OSError):
        return ""
    return ""


def _folder(what: str, folder: Path, wanted: str) -> Diagnosis:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(b"durable")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return fault(what, f"{folder} cannot be written: {error.strerror}", f"give uid {os.getuid()} {wanted}")
    return ok(what, f"{folder} can be written")


def check_disk(settings: Settings) -> Iterator[Diagnosis]:
    """Is there room for more than what is kept back?"""
    what, kept_back = "disk", settings.min_free_bytes
    free = shutil.disk_usage(_existing(settings.data_dir.absolute())).free
    words = f"{_gb(free)} free, of which {_gb(kept_back)} are kept back (min_free_bytes)"
    if free <= kept_back:
        yield fault(what, words, "no association is accepted: make room, or move data_dir to a larger disk")
    elif free < 2 * kept_back:
        yield warning(what, words, "make room soon: associations are refused when what is kept back is touched")
    else:
        yield ok(what, words)


def check_ports(settings: Settings) -> Iterator[Diagnosis]:
    """Is each port free for this node, or the node's already?"""
    yield _port(settings, "scp", "DICOM port", "host and port", settings.host, settings.port)
    yield _port(settings, "web", "HTTP port", "http_host and http_port", settings.http_host, settings.http_port)
    if settings.hl7_port is not None:
        yield _port(settings, "hl7", "HL7 port", "hl7_host and hl7_port", settings.hl7_host, settings.hl7_port)


def check_certificates(settings: Settings) -> Iterator[Diagnosis]:
    """Do the files make TLS, and for how long?"""
    for setting, tls in settings.listening_tls.items():
        yield _certificate(setting, tls, server_context)
    if settings.http_tls is not None:
        yield _certificate("http_tls", settings.http_tls, http_context)
    for name, tls in settings.calling_tls.items():
        yield _certificate(f"tls of {name}", tls, client_context)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _port(settings: Settings, role: str, what: str, setting: str, host: str, port: int) -> Diagnosis:
    if port == 0:
        return warning(what, "0: another port at each start", f"set {setting}: who sends must know it")
    try:
        with socket.create_server((host, port)):
            return ok(what, f"{host}:{port} is free: nothing listens there now")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _taken(settings, role, what, setting, f"{host}:{port}")
        fix = f"change {setting}: ports below 1024 need a privilege, addresses are those of this machine"
        return fault(what, f"{host}:{port} cannot be listened at: {error.strerror}", fix)


def _taken(settings: Settings, role: str, what: str, setting: str, where: str) -> Diagnosis:
    """By the node itself, one hopes. Connecting would tell no more, and is an alert in the audit trail where TLS is."""
    try:
        if _runs_here(settings, role):
            return ok(what, f"{where} is listened at by this node ({role})")
    except (Permanent, DBAPIError, OSError):  # told by the database's own check
        return warning(what, f"{where} is taken, by this node if it runs", "have the database tell: see its line")
    return fault(what, f"{where} is taken by another program", f"stop that program, or change {setting}")


def _runs_here(settings: Settings, role: str) -> bool:
    with opened(settings) as engine:
        if schema_revision(engine) is None:
            return False
        with Sessions(engine)() as session:
            found = conditions_here(session, role, utc_now())
    return any(each.age_s <= SILENT_AFTER_S for each in found)


def _certificate(setting: str, tls: Files, make: Callable[[Files], ssl.SSLContext]) -> Diagnosis:
    what = f"certificate ({setting})"
    try:
        make(tls)
        left = expires_at(tls.certificate) - utc_now()
        crl_left = crls_left(tls.ca, utc_now()) if tls.ca else None
    except (OSError, ssl.SSLError) as error:
        words = f"{named(tls)} make no TLS: {words_of(error)}"
        return fault(what, words, "give PEM files that this user can read, a key that belongs to the certificate")
    if left < timedelta(0):
        words = f"{tls.certificate} expired {(-left).days} days ago"
        return fault(what, words, "replace the file; no restart is needed")
    if crl_left is not None and crl_left < WARN_BEFORE_CRL:
        return _crl(what, f"a CRL in {tls.ca}", crl_left)
    if left < _WARN_BEFORE:
        words = f"{tls.certificate} expires in {left.days} days"
        return warning(what, words, "replace the file; no restart is needed")
    return ok(what, f"{tls.certificate} is good for {left.days} days")


def _crl(what: str, named: str, left: timedelta) -> Diagnosis:
    fix = "have its authority's new CRL put there; no restart is needed"
    if left < timedelta(0):
        return fault(what, f"{named} is out of date since {-left // _HOUR} hours: nobody is let in", fix)
    return warning(what, f"{named} is out of date in {left // _HOUR} hours: then nobody is let in", fix)
