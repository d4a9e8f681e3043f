"""A throw-away Orthanc as the PACS: started by ../shared/tools/orthanc, read through its REST interface."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from house import is_open, require, shared_tool, wait_until
from waiting import free_port

AE_TITLE = "TESTPACS"
_TIMEOUT_S = 120  # only ever waited for when something is broken


@dataclass(frozen=True)
class Held:
    """One object as Orthanc understood it: text is UTF-8, whatever the object's character set."""

    orthanc_id: str
    study_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    patient_name: str
    patient_id: str
    accession_number: str


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. It stores only what the calling AE title CXRNODE sends."""

    dicom_port: int
    http_port: int

    @property
    def toml(self) -> str:
        """The node's settings for this PACS."""
        return f'[[pacs]]\nname = "pacs"\nae_title = "{AE_TITLE}"\nhost = "127.0.0.1"\nport = {self.dicom_port}\n'

    def instances(self) -> list[Held]:
        """Everything it holds."""
        return [self._held(each) for each in json.loads(self._get("/instances"))]

    def download(self, held: Held, folder: Path) -> Path:
        """The object's file, named by its SOP Instance UID."""
        file = folder / f"{held.sop_instance_uid}.dcm"
        file.write_bytes(self._get(f"/instances/{held.orthanc_id}/file"))
        return file

    def _held(self, orthanc_id: str) -> Held:
        tags = json.loads(self._get(f"/instances/{orthanc_id}/simplified-tags"))
        return Held(
            orthanc_id,
            tags["StudyInstanceUID"],
            tags["SOPClassUID"],
            tags["SOPInstanceUID"],
            tags.get("PatientName", ""),
            tags.get("PatientID", ""),
            tags.get("AccessionNumber", ""),
        )

    def _get(self, path: str) -> bytes:
        with urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read())


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Orthanc while the block runs, its database and its log in the folder."""
    require("Orthanc")
    script = shared_tool("orthanc", "run_orthanc.sh")
    folder.mkdir(parents=True, exist_ok=True)
    peer = Orthanc(free_port(), free_port())
    ports = {"ORTHANC_DICOM_PORT": str(peer.dicom_port), "ORTHANC_HTTP_PORT": str(peer.http_port)}
    with (
        (folder / "orthanc.log").open("wb") as log,
        subprocess.Popen([script, folder], stdout=log, stderr=log, env={**os.environ, **ports}) as process,
    ):
        try:
            wait_until(lambda: is_open(peer.dicom_port) and is_open(peer.http_port), _TIMEOUT_S, "Orthanc listens")
            yield peer
        finally:
            process.terminate()  # the script ends Orthanc
            process.wait(_TIMEOUT_S)
