"""What came on an association is one audit message for each study."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from doubles import FrozenClock
from films import dx_bytes
from waiting import in_threads

from dicom_node.audit import AuditTrail
from dicom_node.audit_messages import Sender
from dicom_node.receive import transfers as module
from dicom_node.receive.header import read_header
from dicom_node.receive.transfers import Transfers

DX, SR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.88.11"
HEADER = read_header(BytesIO(dx_bytes()))
Told = list[tuple[str, str, dict[str, int]]]


@pytest.fixture
def trail(tmp_path: Path) -> AuditTrail:
    return AuditTrail(tmp_path, "CXRNODE", FrozenClock())


@pytest.fixture
def transfers(trail: AuditTrail) -> Transfers:
    return Transfers(partial(trail.transferred, Sender("10.1.2.3", "MODALITY")))


def add(transfers: Transfers, study: str, patient: str = "CANARY", sop_class: str = DX) -> None:
    transfers.add(replace(HEADER, study_instance_uid=study, patient_id=patient, sop_class_uid=sop_class))


def told(trail: AuditTrail, folder: Path) -> Told:
    """Study, patient and counts by class of each message."""
    trail.stopped()
    found: Told = []
    for line in (folder / "audit-2026-03-01.log").read_text().splitlines()[:-1]:
        message = ET.fromstring(line)
        study, patient = (
            str(each.get("ParticipantObjectID")) for each in message.iter("ParticipantObjectIdentification")
        )
        counts = {str(each.get("UID")): int(str(each.get("NumberOfInstances"))) for each in message.iter("SOPClass")}
        found.append((study, patient, counts))
    return found


def test_each_study_is_told_when_the_association_ends(transfers: Transfers, trail: AuditTrail, tmp_path: Path) -> None:
    add(transfers, "1.1")
    add(transfers, "1.2")
    add(transfers, "1.1", sop_class=SR)
    add(transfers, "1.1")
    transfers.tell()
    transfers.tell()
    assert told(trail, tmp_path) == [("1.1", "CANARY", {DX: 2, SR: 1}), ("1.2", "CANARY", {DX: 1})]


def test_an_association_that_brought_nothing_is_not_told(
    transfers: Transfers, trail: AuditTrail, tmp_path: Path
) -> None:
    transfers.tell()
    assert told(trail, tmp_path) == []


def test_a_study_of_two_patients_is_told_twice(transfers: Transfers, trail: AuditTrail, tmp_path: Path) -> None:
    add(transfers, "1.1", "CANARY1")
    add(transfers, "1.1", "CANARY2")
    transfers.tell()
    assert [patient for _, patient, _ in told(trail, tmp_path)] == ["CANARY1", "CANARY2"]


def test_an_association_that_brings_an_archive_is_told_in_between(
    transfers: Transfers, trail: AuditTrail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_STUDIES", 3)
    for number in range(4):
        add(transfers, f"1.{number}")
    assert len(told(trail, tmp_path)) == 3


def test_many_threads_may_add(transfers: Transfers, trail: AuditTrail, tmp_path: Path) -> None:
    in_threads(lambda: [add(transfers, "1.1") for _ in range(100)], threads=8)
    transfers.tell()
    assert told(trail, tmp_path) == [("1.1", "CANARY", {DX: 800})]
