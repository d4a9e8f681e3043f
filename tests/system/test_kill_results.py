"""kill -9 while results are committed, withdrawn and heard of: nothing is lost, and nothing becomes two."""

import gc
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count, product
from pathlib import Path

import pytest
from committing_pacs import CommittingPacs, Tell, commit_anew, commit_here
from films import write_dx
from hl7_messages import code_of, order
from house import Node, is_open, storescu, wait_until
from inbound_peer import MllpSender
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, KeyObjectSelectionDocumentStorage
from pynetdicom.association import Association
from sqlmodel import col, func, select
from waiting import free_port

from dicom_node.models import Delivery, InboundMessage, Job, Order, Report, Study
from dicom_node.receive.commitment import STORAGE_COMMITMENT
from dicom_node.states import DeliveryKind, DeliveryState
from dicom_node.timeline import study_status
from dicom_node.uids import derive_uid
from integration.simulators.inbox import read_receipts
from integration.simulators.ris import LoopbackRis

pytestmark = [
    pytest.mark.system,
    pytest.mark.kill,
    pytest.mark.timeout(1800),
    # pynetdicom leaves the sockets of associations that a killed peer broke open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WAIT_S = 120.0  # only ever waited for when something is broken
ASKING = (
    "integration.commitment_scu:CommitmentScu.ask:before",  # the transaction is on the disk
    "integration.commitment_scu:CommitmentScu._request:after",  # the N-ACTION is answered
)
ANSWERED = (
    "dicom_node.receive.commitment_answer:_work_in:before",  # the N-EVENT-REPORT is read
    "dicom_node.receive.commitment_answer:_work_in:after",  # and worked in
    "dicom_node.receive.commitment_answer:refusal:after",  # and on the disk, and not answered
)
WITHDRAWING = (
    "integration.relay:_payload:after",  # note or cancelling is on the disk
    "integration.store_scu:StoreScu.send:after",  # the note is stored there
    "integration.mllp:MllpSender.send:after",  # the cancelling is acknowledged
    "integration.relay:settle_job:after",
)
HEARING = (
    "integration.message_intake:_work_in_new:before",
    "integration.message_intake:_work_in_new:after",
    "integration.message_intake:MessageIntake._keep:after",  # on the disk, and not acknowledged
)
COMMAND = "dicom_node.withdrawal:withdraw:after"
STEPS = (*ASKING, *ANSWERED, *WITHDRAWING, *HEARING, COMMAND)

_numbers = count(1)


@dataclass
class House:
    """A node whose roles die where they are told to, its PACS and its RIS."""

    node: Node
    pacs: CommittingPacs
    ris_folder: Path
    folder: Path
    hl7_port: int
    armed: Path = field(init=False)

    def __post_init__(self) -> None:
        self.armed = self.folder / "armed"
        self.armed.mkdir()

    @contextmanager
    def dying_at(self, step: str) -> Iterator[None]:
        """Somebody dies at the step, once, on the way of what the block does."""
        file = self.armed / step.replace(":", "@")
        file.touch()
        yield
        wait_until(lambda: not file.exists(), WAIT_S, f"somebody dies at {step}")

    def receive(self) -> str:
        """A new film, sent until it is taken. Returns its Study Instance UID."""
        name = f"film{next(_numbers)}"
        uids = {f"{each}InstanceUID": derive_uid(name, each) for each in ("Study", "Series", "SOP")}
        film = write_dx(self.folder / f"{name}.dcm", **uids)
        wait_until(lambda: storescu(self.node.port, film).returncode == 0, WAIT_S, "the node takes a film")
        return str(uids["StudyInstanceUID"])

    def wait_until_told(self, study_instance_uid: str) -> None:
        """Everybody has what there is to have, and the PACS has committed the report."""

        def is_told() -> bool:
            with self.node.sessions()() as session:
                study = session.exec(select(Study).where(Study.study_instance_uid == study_instance_uid)).one()
                deliveries = select(Delivery).join(Report).join(Job).where(Job.study_id == study.id)
                srs = session.exec(deliveries.where(Delivery.kind == DeliveryKind.SR)).all()
                is_committed = [each.state for each in srs] == [DeliveryState.COMMITTED]
                return is_committed and study_status(session, study).where == "done"

        wait_until(is_told, WAIT_S, "the report is committed and everybody told")

    def withdraw(self, study_instance_uid: str) -> None:
        with self.node.sessions()() as session:
            number = session.exec(select(Study.id).where(Study.study_instance_uid == study_instance_uid)).one()
        self.node.command("withdraw", str(number), "--reason", "for a test")

    def objects(self, study_instance_uid: str) -> dict[str, list[str]]:
        """SOP Instance UIDs by SOP class that the PACS was sent of a study, each as the same bytes every time."""
        versions: defaultdict[tuple[str, str], set[bytes]] = defaultdict(set)
        for data_set in self.pacs.stored:
            ds = dcmread(BytesIO(data_set), force=True)
            if ds.StudyInstanceUID == study_instance_uid:
                versions[str(ds.SOPClassUID), str(ds.SOPInstanceUID)].add(data_set)
        assert {len(each) for each in versions.values()} == {1}
        found: defaultdict[str, list[str]] = defaultdict(list)
        for sop_class_uid, sop_instance_uid in versions:
            found[sop_class_uid].append(sop_instance_uid)
        return dict(found)

    def messages(self, study_instance_uid: str) -> list[str]:
        """The message control IDs that the RIS was sent of a study, each as the same bytes every time."""
        versions: defaultdict[str, set[str]] = defaultdict(set)
        for receipt in read_receipts(self.ris_folder):
            if study_instance_uid.encode() in (self.ris_folder / f"{receipt.identifier}.hl7").read_bytes():
                versions[receipt.identifier].add(receipt.sha256)
        assert {len(each) for each in versions.values()} == {1}
        return list(versions)

    def tell(self, message: bytes) -> None:
        """As a RIS does: until it is acknowledged."""
        wait_until(lambda: self._is_taken(message), WAIT_S, "the message is acknowledged")

    def _is_taken(self, message: bytes) -> bool:
        with suppress(OSError), MllpSender(self.hl7_port) as ris:
            return code_of(ris.ask(message)) == "AA"
        return False


def once(tell: Tell) -> Tell:
    """A PACS that does not try again: what the node did not hear, it has to ask for anew."""

    def try_once(pacs: CommittingPacs, assoc: Association, asked: Dataset) -> None:
        with suppress(RuntimeError):  # pynetdicom: the node has died
            tell(pacs, assoc, asked)

    return try_once


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[House]:
    folder, hl7_port = tmp_path_factory.mktemp("house"), free_port()
    services = (BasicTextSRStorage, KeyObjectSelectionDocumentStorage, STORAGE_COMMITMENT)
    pacs = CommittingPacs(once(commit_anew), services=services)
    with pytest.MonkeyPatch.context() as patch, pacs.listening() as port, LoopbackRis(folder / "ris") as ris:
        node = Node(folder / "node", _settings(tiny_model, port, ris.port, hl7_port))
        pacs.node_port = node.port
        house = House(node, pacs, folder / "ris", folder, hl7_port)
        patch.setenv("DIE_ARMED", str(house.armed))
        patch.setenv("DIE_STEPS", ",".join(STEPS))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "die"))
        node.start()
        wait_until(lambda: is_open(hl7_port), WAIT_S, "the node takes HL7")
        yield house
        node.kill_all()
        gc.collect()  # what is left of broken associations, while its warnings are ignored


@pytest.mark.parametrize(
    ("step", "tell"), [*product(ASKING, [commit_anew]), *product(ANSWERED, [commit_anew, commit_here])]
)
def test_a_kill_while_a_report_is_committed_leaves_one_report_that_is(step: str, tell: Tell, house: House) -> None:
    house.pacs.tell = once(tell)
    with house.dying_at(step):
        study = house.receive()
    house.wait_until_told(study)
    assert {sop_class: len(uids) for sop_class, uids in house.objects(study).items()} == {BasicTextSRStorage: 1}
    assert len(house.messages(study)) == 1


@pytest.mark.parametrize("step", WITHDRAWING)
def test_a_kill_while_a_report_is_withdrawn_leaves_one_note_and_one_cancelling(step: str, house: House) -> None:
    study = house.receive()
    house.wait_until_told(study)
    with house.dying_at(step):
        house.withdraw(study)
    _check_withdrawn(house, study)


def test_a_command_that_dies_has_withdrawn_nothing_and_may_be_given_again(house: House) -> None:
    study = house.receive()
    house.wait_until_told(study)
    with house.dying_at(COMMAND), pytest.raises(subprocess.CalledProcessError):
        house.withdraw(study)
    assert list(house.objects(study)) == [BasicTextSRStorage]
    house.withdraw(study)
    _check_withdrawn(house, study)


@pytest.mark.parametrize("step", HEARING)
def test_a_kill_while_a_message_is_taken_leaves_it_once_and_worked_in_once(step: str, house: House) -> None:
    key = f"K{next(_numbers)}"
    message = order(control_id=key, placer=f"P{key}", filler=f"F{key}", accession=f"A{key}")
    with house.dying_at(step):
        house.tell(message)
    house.tell(message)
    with house.node.sessions()() as session:
        assert session.exec(select(InboundMessage.raw).where(InboundMessage.control_id == key)).all() == [message]
        orders = select(func.count(col(Order.id))).where(Order.accession_number == f"A{key}")
        assert session.exec(orders).one() == 1


def _check_withdrawn(house: House, study: str) -> None:
    house.wait_until_told(study)
    found = house.objects(study)
    assert {sop_class: len(uids) for sop_class, uids in found.items()} == {
        BasicTextSRStorage: 1,
        KeyObjectSelectionDocumentStorage: 1,
    }
    assert len(house.messages(study)) == 2  # the draft, and what takes it back
    assert "CANARY" not in house.node.log.read_text(encoding="utf-8", errors="replace")


def _settings(tiny_model: Path, pacs_port: int, ris_port: int, hl7_port: int) -> str:
    return f"""
model_dir = "{tiny_model}"
min_free_bytes = 0
idle_timeout_s = 0.5
max_job_attempts = 1000
max_delivery_attempts = 1000
retry_after_s = 0.2
max_retry_after_s = 1.0
hl7_port = {hl7_port}
[[pacs]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
timeout_s = 10.0
commitment = true
commitment_timeout_s = 5.0
rejection_notes = true
[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
timeout_s = 10.0
cancellations = true
"""
