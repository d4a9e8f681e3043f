"""A real Orthanc stores films here, asks whether they are safe, and is told the truth."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from films import write_dx
from house import Node, is_open, wait_until
from orthanc import AE_TITLE, Orthanc, running_orthanc
from sqlmodel import select

from dicom_node.models import Instance

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DX = "1.2.840.10008.5.1.4.1.1.1.1"
WAIT_S = 120.0  # only ever waited for when something is broken


class Scp(Node):
    """A node that receives and does nothing else."""

    def start(self) -> None:
        self.command("migrate")
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dicom_node", "scp"]
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=self.environment, cwd=self.folder)
        wait_until(lambda: is_open(self.port), WAIT_S, "the node listens")


@dataclass
class Asker:
    """Orthanc, which knows the node as one of its modalities, and the node."""

    orthanc: Orthanc
    node: Scp
    folder: Path

    def meet(self) -> None:
        self._send("PUT", "/modalities/node", {"AET": "CXRNODE", "Host": "127.0.0.1", "Port": self.node.port})

    def store(self, number: int) -> str:
        """Let Orthanc take a film in and store it here. Returns its SOP Instance UID."""
        uid = f"1.2.826.{number}"
        film = write_dx(self.folder / f"{number}.dcm", SOPInstanceUID=uid)
        held = self._send("POST", "/instances", film.read_bytes())
        self._send("POST", "/modalities/node/store", {"Resources": [held["ID"]]})
        return uid

    def ask(self, *uids: str) -> str:
        """Let Orthanc ask for commitment. Returns its name for the transaction."""
        instances = [{"SOPClassUID": DX, "SOPInstanceUID": uid} for uid in uids]
        return str(self._send("POST", "/modalities/node/storage-commitment", {"DicomInstances": instances})["ID"])

    def wait_told(self, transaction: str) -> dict[str, Any]:
        wait_until(lambda: self._told(transaction)["Status"] != "Pending", WAIT_S, "Orthanc was told")
        return self._told(transaction)

    def _told(self, transaction: str) -> dict[str, Any]:
        return self._send("GET", f"/storage-commitment/{transaction}")

    def _send(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = Request(f"http://127.0.0.1:{self.orthanc.http_port}{path}", data=data, method=method)
        with urlopen(request, timeout=WAIT_S) as answer:
            return dict(json.loads(answer.read() or b"{}"))


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory, module_backend: str) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("commitment")
    with running_orthanc(folder / "orthanc") as orthanc:
        listens_at = f'[peers.{AE_TITLE}.listens_at]\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
        node = Scp(folder / "node", f"{module_backend}min_free_bytes = 0\n{listens_at}")
        asker = Asker(orthanc, node, folder)
        try:
            node.start()
            asker.meet()
            yield asker
        finally:
            node.stop()


def test_orthanc_is_told_that_what_it_stored_is_safe(asker: Asker) -> None:
    films = {asker.store(1), asker.store(2)}
    told = asker.wait_told(asker.ask(*films))
    assert (told["Status"], told["RemoteAET"], told["Failures"]) == ("Success", "CXRNODE", [])
    assert {each["SOPInstanceUID"] for each in told["Success"]} == films


def test_orthanc_is_told_what_never_came_and_what_is_lost(asker: Asker) -> None:
    kept, lost = asker.store(3), asker.store(4)
    with asker.node.sessions()() as session:
        path = session.exec(select(Instance.path).where(Instance.sop_instance_uid == lost)).one()
    (asker.node.settings().instances_dir / path).unlink()
    told = asker.wait_told(asker.ask(kept, lost, "1.2.826.9999"))
    assert told["Status"] == "Failure"
    assert {each["SOPInstanceUID"] for each in told["Success"]} == {kept}
    failures = {each["SOPInstanceUID"]: each["FailureReason"] for each in told["Failures"]}
    assert failures == {lost: 0x0112, "1.2.826.9999": 0x0112}
    assert "1 of 3 committed; not: 2 × 0112" in asker.node.command("commitments")


@pytest.mark.kill
def test_orthanc_is_told_though_the_node_is_killed_when_it_has_asked(asker: Asker) -> None:
    transaction = asker.ask(asker.store(5))
    asker.node.kill_all()
    asker.node.start()
    assert asker.wait_told(transaction)["Status"] == "Success"
