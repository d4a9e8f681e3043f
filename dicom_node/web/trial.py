"""A study of nobody, sent to this node's own DICOM port as anybody would: what comes of it shows that all works."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryDirectory

from pydicom import Dataset, dcmread
from pynetdicom import build_context
from sqlmodel import Session

from dicom_node.config import Settings
from dicom_node.errors import PeerRejected, PeerUnreachable, Permanent
from dicom_node.health import conditions
from dicom_node.peers import PeerAddress
from dicom_node.requestor import Requestor, opened

PATIENT_NAME = "TEST PATIENT^NOT A PERSON"
PATIENT_ID = "DICOM-NODE-TEST"
_FINDINGS = ("--seed", "2", "--finding", "right-pacemaker", "--finding", "left-effusion", "--view", "PA")
_DRAW_S = 120.0
_ANSWER_S = 30.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_SUCCESS = 0x0000


def own_port(session: Session, settings: Settings, now: datetime) -> PeerAddress:
    """Where the role scp listens, by what it has written of itself. Raises Permanent where nobody knows."""
    running = [each.host for each in conditions(session, now) if each.role == "scp" and each.is_well]
    if not running:
        raise Permanent("the role scp, which receives, does not run or has not said so yet")
    if settings.port == 0:
        raise Permanent("port is 0, another at each start: set it")
    here = _ANY_ADDRESS.get(settings.host, settings.host)
    return PeerAddress(host=here if gethostname() in running else running[0], port=settings.port, tls=settings.tls)


def send_test_study(settings: Settings, to: PeerAddress, now: datetime) -> str:
    """Draw a film and store it. Returns its Study Instance UID.

    Raises Permanent if it cannot be drawn; PeerUnreachable or PeerRejected if this node does not take it.
    """
    with TemporaryDirectory() as folder:
        film = Path(folder) / "film.dcm"
        _draw(film, now)
        ds = dcmread(film)
    _store(settings, to, ds)
    return str(ds.StudyInstanceUID)


def _draw(film: Path, now: datetime) -> None:
    """In a process of its own: the core does not know who draws, and drawing takes seconds."""
    patient = ("--patient-name", PATIENT_NAME, "--patient-id", PATIENT_ID)
    numbers = ("--accession-number", f"TEST{now:%m%d%H%M%S}", "--studied-at", now.isoformat())
    command = [sys.executable, "-m", "workers.phantom.film", str(film), *_FINDINGS, *patient, *numbers]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_DRAW_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise Permanent(f"the film could not be drawn ({type(error).__name__})") from error


def _store(settings: Settings, to: PeerAddress, ds: Dataset) -> None:
    ae = Requestor(settings.ae_title, timeout_s=_ANSWER_S)
    contexts = [build_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)]
    with opened(ae, to, settings.ae_title, contexts=contexts, refusal="does not take the film") as assoc:
        status = assoc.send_c_store(ds).get("Status")
    if status is None:
        raise PeerUnreachable(f"{settings.ae_title} did not answer C-STORE")
    if status != _SUCCESS:
        raise PeerRejected(f"{settings.ae_title} answered C-STORE with status {status:04X}")
