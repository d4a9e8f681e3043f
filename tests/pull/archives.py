"""Archives to pull from: Orthanc and DCMTK's dcmqrscp, each with the same few studies, and the node beside them."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from doubles import FrozenClock
from films import dx_bytes
from foreign import require_peer, running
from waiting import free_port, wait_until

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.peers import DicomSource
from dicom_node.pull.puller import Puller
from dicom_node.receive.intake import Intake, Receiver
from dicom_node.receive.scp import start_server
from dicom_node.storage import InstanceStore
from dicom_node.uids import derive_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
ACCESSION = "CANARY-ACC-1"


def uid(*name: str) -> str:
    return str(derive_uid("archives", *name))


def film(study: str, name: str, **elements: Any) -> bytes:
    """An object of a study; the day is that of the tests' clock unless it is said."""
    of_study = {
        "StudyInstanceUID": uid(study),
        "SeriesInstanceUID": uid(study, "series"),
        "SOPInstanceUID": uid(study, name),
        "StudyDescription": "Thorax p.a.",
        "StudyDate": "20260301",
        "AccessionNumber": "",
        "SpecificCharacterSet": "ISO_IR 100",
    }
    return dx_bytes(**{**of_study, **elements})


# Name → its objects. All but the stranger's are of one patient.
STUDIES: dict[str, list[bytes]] = {
    "today": [
        film("today", "pa", AccessionNumber=ACCESSION, InstitutionName="Ward 3"),
        film("today", "lateral", AccessionNumber=ACCESSION, InstitutionName="Ward 3", ViewPosition="LL"),
    ],
    "yesterday": [film("yesterday", "pa", StudyDate="20260228", InstitutionName="Ward 4")],
    "last week": [film("last week", "hip", StudyDate="20260222", BodyPartExamined="HIP", StudyDescription="Hip")],
    "last year": [film("last year", "pa", StudyDate="20250301")],
    "long ago": [film("long ago", "pa", StudyDate="20200301")],
    "stranger": [film("stranger", "pa", StudyDate="20251224", PatientID="CANARY-OTHER")],
    "ct": [film("ct", "slice", SOPClassUID=CT, Modality="CT")],
}


@dataclass(frozen=True)
class Archive:
    """A running archive, and the node's port that it knows as the move destination CXRNODE."""

    name: str
    ae_title: str
    port: int
    node_port: int

    def source(self, **changes: Any) -> DicomSource:
        base = {"name": "pacs", "ae_title": self.ae_title, "host": "127.0.0.1", "port": self.port, "timeout_s": 20.0}
        return DicomSource(**{**base, **changes})


@contextmanager
def orthanc(folder: Path) -> Iterator[Archive]:
    program = require_peer("Orthanc")
    archive, http_port = Archive("orthanc", "ORTHANC", free_port(), free_port()), free_port()
    settings = {
        "StorageDirectory": "db",
        "IndexDirectory": "db",
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": archive.ae_title,
        "DicomPort": archive.port,
        "DicomModalities": {"node": {"AET": "CXRNODE", "Host": "127.0.0.1", "Port": archive.node_port}},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with running([program, "orthanc.json"], cwd=folder):
        wait_until(lambda: _listens(archive.port) and _listens(http_port), "Orthanc listens")
        for content in [each for study in STUDIES.values() for each in study]:
            with urlopen(Request(f"http://127.0.0.1:{http_port}/instances", content, method="POST"), timeout=20):
                pass
        yield archive


@contextmanager
def dcmqrscp(folder: Path) -> Iterator[Archive]:
    program, storescu = require_peer("dcmqrscp"), require_peer("storescu")
    archive = Archive("dcmqrscp", "QRPACS", free_port(), free_port())
    (folder / "db").mkdir()
    (folder / "cfg").write_text(
        f"NetworkTCPPort = {archive.port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nnode = (CXRNODE, 127.0.0.1, {archive.node_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{archive.ae_title} {folder}/db RW (200, 1024mb) ANY\nAETable END\n"
    )
    files = []
    for number, content in enumerate(each for study in STUDIES.values() for each in study):
        files.append(folder / f"{number}.dcm")
        files[-1].write_bytes(content)
    with running([program, "-c", str(folder / "cfg")]):
        wait_until(lambda: _listens(archive.port), "dcmqrscp listens")
        send = [storescu, "-aec", archive.ae_title, "127.0.0.1", str(archive.port)]
        subprocess.run([*send, *map(str, files)], check=True, timeout=60, capture_output=True)
        yield archive


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def receiving(settings: Settings, receiver: Receiver, port: int) -> Iterator[None]:
    """The node's scp, for C-MOVE."""
    server = start_server(settings.model_copy(update={"port": port}), receiver)
    try:
        yield
    finally:
        server.shutdown()


def make_puller(settings: Settings, sessions: Sessions, source: DicomSource, clock: FrozenClock) -> Puller:
    receiver = Receiver(InstanceStore(settings.instances_dir), sessions, clock)
    return Puller(source, settings, receiver, Intake(receiver), AuditTrail(settings.audit_dir, "CXRNODE", clock))
