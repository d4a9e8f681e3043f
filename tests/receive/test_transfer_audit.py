"""What the audit trail has of an association that stored something, on both paths."""

import subprocess
from pathlib import Path

import pytest
from audited import transfers
from doubles import FrozenClock
from films import dx_bytes
from foreign import require_peer
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.receive import scp
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import bound_port
from dicom_node.storage import InstanceStore


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_each_study_of_an_association_is_told_once_with_its_patient(
    path: str, settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    films = []
    for number, study in enumerate(("1.2.3", "1.2.3", "1.2.4")):
        films.append(tmp_path / f"{number}.dcm")
        films[-1].write_bytes(dx_bytes(SOPInstanceUID=f"1.2.{number}.9", StudyInstanceUID=study))
    receiver = Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())
    server = scp.start_server(settings.model_copy(update={"receive_path": path}), receiver)
    try:
        storescu = [require_peer("storescu"), "-aet", "MODALITY", "-aec", "CXRNODE", "127.0.0.1"]
        subprocess.run([*storescu, str(bound_port(server)), *films], check=True, timeout=120)
        wait_until(lambda: len(transfers(settings)) == 2, "both studies are in the audit trail")
    finally:
        server.shutdown()
    told = transfers(settings)
    assert sorted(count for count, _ in told) == [1, 2]
    assert {patient for _, patient in told} == {"CANARY-ID"}
