"""Order, images, a late one, a withdrawal, the final report, a merge, a withdrawal: one study's story everywhere."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import hl7
import hl7.client
import pytest
from films import write_dx
from house import Node, is_open, storescu, wait_until
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlmodel import select
from waiting import free_port

from dicom_node.models import Study
from dicom_node.states import CLOSED, NOT_TOLD_FINAL, UNCHANGED
from dicom_node.timeline import timeline
from integration.simulators.inbox import read_receipts
from integration.simulators.ris import LoopbackRis

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

WAIT_S = 180.0  # only ever waited for when something is broken
BASIC_TEXT_SR, KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.88.59"
PACS_RULES = "commitment = true\nask_before_sending = true\nrejection_notes = true\n"

MSH = "MSH|^~\\&|RIS|HOSP|CXRNODE|RAD|20260301110000||{}|{}|P|2.5.1\r"
PID = "PID|1||CANARY-ID^^^HOSP^MR||CANARY^PHI\r"
ORDER = (
    MSH.format("ORM^O01", "C1") + PID + "PV1|1|O\rORC|NW|PLC1^RIS|FIL1^RIS||SC\rTQ1|1||||||||S\r"
    "OBR|1|PLC1^RIS|FIL1^RIS|36643-5^XR Chest 2 Views^LN||||||||||||||CANARY-ACC|RP1|SPS1||||DX|||||||^Cough\r"
)
FINAL = (
    MSH.format("ORU^R01^ORU_R01", "R1") + PID + "OBR|1|PLC1^RIS||36643-5^XR Chest^LN||||||||||||||CANARY-ACC|||||||F\r"
    "OBX|1|TX|36643-5&GDT^XR Chest^LN|1|Small effusion.||||||F\r"
)
MERGE = MSH.format("ADT^A40", "M1") + "EVN|A40|20260301\rPID|1||CANARY-NEW||CANARY^PHI\rMRG|CANARY-ID\r"


@dataclass
class House:
    """A node, its PACS that has the images too, and its RIS."""

    node: Node
    orthanc: Orthanc
    ris_folder: Path
    folder: Path
    hl7_port: int

    def hear(self, message: str) -> None:
        with hl7.client.MLLPClient("127.0.0.1", self.hl7_port) as ris:
            assert b"\rMSA|AA|" in ris.send_message(message)

    def receive(self, name: str, view: str) -> None:
        """A film goes to the PACS and to the node."""
        film = write_dx(self.folder / f"{name}.dcm", SOPInstanceUID=f"1.2.826.{len(name)}", ViewPosition=view)
        rest(self.orthanc, "POST", "/instances", film.read_bytes())
        sent = storescu(self.node.port, film)
        assert sent.returncode == 0, sent.stderr

    def story(self) -> str:
        return self.node.command("status", "1")

    def wait_for(self, words: str, count: int = 1) -> None:
        wait_until(lambda: self._count(words) >= count, WAIT_S, f"the story tells {words!r}, {count} times")

    def _count(self, words: str) -> int:
        """As `story` does, without a process for every look."""
        with self.node.sessions()() as session:
            studies = session.exec(select(Study)).all()
            return sum(words in moment.what for study in studies for moment in timeline(session, study))

    def withdraw(self, reason: str) -> str:
        return self.node.command("withdraw", "1", "--reason", reason)

    def objects(self, sop_class_uid: str) -> list[Dataset]:
        """What the PACS holds of a class, by Instance Number."""
        held = [each for each in self.orthanc.instances() if each.sop_class_uid == sop_class_uid]
        files = [rest(self.orthanc, "GET", f"/instances/{each.orthanc_id}/file") for each in held]
        return sorted((dcmread(BytesIO(file)) for file in files), key=lambda ds: int(ds.InstanceNumber))

    def messages(self) -> list[hl7.Message]:
        """What the RIS has, oldest first, each message once."""
        identifiers = [receipt.identifier for receipt in read_receipts(self.ris_folder)]
        assert len(identifiers) == len(set(identifiers))
        return [hl7.parse((self.ris_folder / f"{each}.hl7").read_bytes().decode()) for each in identifiers]


def rest(orthanc: Orthanc, method: str, path: str, body: object = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    with urlopen(
        Request(f"http://127.0.0.1:{orthanc.http_port}{path}", data=data, method=method), timeout=20
    ) as answer:
        return answer.read()


@pytest.fixture
def house(tmp_path: Path, backend: str, tiny_model: Path) -> Iterator[House]:
    with ExitStack() as stack:
        orthanc = stack.enter_context(running_orthanc(tmp_path / "orthanc"))
        ris = stack.enter_context(LoopbackRis(tmp_path / "ris"))
        hl7_port = free_port()
        toml = (
            f'{backend}model_dir = "{tiny_model}"\nmin_free_bytes = 0\nidle_timeout_s = 1\nretry_after_s = 0.5\n'
            f"hl7_port = {hl7_port}\n{orthanc.toml}{PACS_RULES}"
            f'[[ris]]\nname = "ris"\nhost = "127.0.0.1"\nport = {ris.port}\ncancellations = true\n'
        )
        node = Node(tmp_path / "node", toml)
        rest(orthanc, "PUT", "/modalities/node", {"AET": "CXRNODE", "Host": "127.0.0.1", "Port": node.port})
        stack.callback(node.stop)
        node.start()
        yield House(node, orthanc, tmp_path / "ris", tmp_path, hl7_port)


def in_order(story: str, *words: str) -> bool:
    """Each stands in a line of its own, after the line of the one before."""
    lines = iter(story.splitlines())
    return all(any(each in line for line in lines) for each in words)


def test_each_peer_has_what_it_should_have_and_the_timeline_tells_why(house: House) -> None:
    wait_until(lambda: is_open(house.hl7_port), WAIT_S, "the node takes HL7")
    house.hear(ORDER)
    house.receive("ap", view="AP")
    house.wait_for("(every destination has it)")
    (first,) = house.objects(BASIC_TEXT_SR)
    (asked,) = first.ReferencedRequestSequence
    assert (asked.PlacerOrderNumberImagingServiceRequest, asked.AccessionNumber) == ("PLC1", "CANARY-ACC")

    house.receive("late", view="PA")
    house.wait_for("(every destination has it)", count=2)
    _, second = house.objects(BASIC_TEXT_SR)
    (before,) = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert {str(message["OBR"][0][2]) for message in house.messages()} == {"PLC1^RIS"}

    house.receive("lateral", view="LL")
    house.wait_for(UNCHANGED)
    said = house.withdraw("another patient's film")
    assert "pacs is told by a rejection note" in said
    assert "ris is told by a cancelling ORU" in said
    wait_until(lambda: len(house.objects(KEY_OBJECTS)) == 2, WAIT_S, "the PACS has the rejection notes")
    wait_until(lambda: len(house.messages()) == 3, WAIT_S, "the RIS has the cancellation")

    house.receive("later still", view="PA")
    house.wait_for("(every destination has it)", count=3)
    house.hear(FINAL)
    house.wait_for(CLOSED)
    house.hear(MERGE)
    assert f"ris {NOT_TOLD_FINAL}" in house.withdraw("its patient's film after all, but cut off")
    wait_until(lambda: len(house.objects(KEY_OBJECTS)) == 3, WAIT_S, "the PACS has the third rejection note")
    assert (len(house.objects(BASIC_TEXT_SR)), len(house.messages())) == (3, 4)
    _check_story(house.story())


def _check_story(story: str) -> None:
    assert "CANARY" not in story
    assert in_order(
        story,
        "receiving (first instance received)",
        "receiving → complete (no image for the idle time)",
        "inferring → reported",
        "sending → delivered",
        "is asked to commit it",
        "delivered → committed",
        "complete → receiving (an image came late)",
        "inferring → reported",
        "delivered → committed",
        f"inferring → skipped ({UNCHANGED}",
        "withdrew its drafts: another patient's film",
        "complete → receiving (an image came late)",
        "delivered → committed",
        f"({CLOSED})",
        "ADT^A40: the RIS merged its patient into another",
        "withdrew its drafts: its patient's film after all, but cut off",
    )
