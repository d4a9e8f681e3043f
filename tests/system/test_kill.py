"""The promise under kill -9: nothing acknowledged is lost, nothing is delivered as two."""

import gc
import os
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain, zip_longest
from pathlib import Path

import pytest
from house import Node, kill, wait_until
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode
from sqlmodel import select

from dicom_node.clock import utc_now
from dicom_node.models import Instance
from dicom_node.requestor import Requestor
from dicom_node.uids import derive_uid
from integration.simulators.inbox import read_receipts
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis
from workers.phantom.case import Case
from workers.phantom.film import film_dataset

pytestmark = [
    pytest.mark.system,
    pytest.mark.kill,
    pytest.mark.timeout(1800),
    # pynetdicom leaves the socket of a refused connection open, and here most are refused.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RANDOM_KILLS = int(os.environ.get("KILLS", "25"))  # on each backend: 50 with every run of the tests
SENDERS = 2
VICTIMS = ("scp", "sweep", "worker", "relay", "web", "supervisor", "everything")

# Every step between receiving and acknowledgement, by role, in the order of the data's way.
STEPS = {
    "scp": (
        "dicom_node.receive.intake:Intake.keep:before",
        "dicom_node.storage:Unfinished.seal:before",
        "dicom_node.spare_files:SpareFiles.take:after",
        "dicom_node.storage:Unfinished.seal:after",
        "dicom_node.part_file:PartFile.finish:before",
        "dicom_node.receive.catalog:Catalog.register:after",
        "dicom_node.receive.intake:Intake.keep:after",
    ),
    "sweep": (
        "dicom_node.receive.sweep:close_quiet_studies:before",
        "dicom_node.receive.completeness:_close:after",
        "dicom_node.receive.sweep:return_orphans:before",
    ),
    "worker": (
        "workers.inference:_claim:before",
        "workers.inference:_claim:after",
        "workers.inference:choose:after",
        "workers.inference:read_pixels:after",
        "workers.inference:_report:before",
        "workers.inference:_report_row:after",
        "workers.inference:add_deliveries:after",
        "workers.inference:_report:after",
    ),
    "relay": (
        "integration.relay:_claim:after",
        "integration.relay:_payload:before",
        "integration.store_scu:StoreScu.encode:after",
        "integration.mllp:MllpSender.encode:after",
        "integration.relay:_payload:after",
        "integration.store_scu:StoreScu.send:after",
        "integration.mllp:MllpSender.send:after",
        "integration.relay:_settle:before",
        "integration.relay:settle_job:after",
        "integration.relay:_settle:after",
    ),
}
# One film each: every role dies at one of its steps on the way of the same film.
ROUNDS = [tuple(filter(None, steps)) for steps in zip_longest(*STEPS.values())]


@dataclass
class Sent:
    """What senders were promised: SOP Instance UID → data set, as on the wire, of each C-STORE answered 0x0000."""

    template: Dataset
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def film(self, name: str) -> Dataset:
        ds = deepcopy(self.template)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = derive_uid(name, "study"), derive_uid(name, "series")
        ds.SOPInstanceUID = derive_uid(name, "image")
        ds.PatientID, ds.PatientName, ds.AccessionNumber = f"CANARY{name}", f"CANARY^{name}", f"A{name}"
        return ds

    def send(self, name: str, port: int) -> None:
        """Send one film until it is acknowledged, as a modality does."""
        ds = self.film(name)
        while not self.stop.is_set() and not _store(ds, port):
            self.stop.wait(0.05)
        if not self.stop.is_set():
            self.acknowledged[str(ds.SOPInstanceUID)] = _on_the_wire(ds)

    def keep_sending(self, prefix: str, port: int) -> None:
        number = 0
        while not self.stop.is_set():
            self.send(f"{prefix}{number}", port)
            number += 1
            self.stop.wait(0.2)


@dataclass
class House:
    node: Node
    pacs_folder: Path
    ris_folder: Path
    sent: Sent


@pytest.fixture(scope="module")
def template() -> Dataset:
    """A film of few pixels: the promise does not depend on its size."""
    ds = film_dataset(Case(1), studied_at=utc_now(), size_px=256)
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


@pytest.fixture
def house(tmp_path: Path, backend: str, tiny_model: Path, template: Dataset) -> Iterator[House]:
    with LoopbackPacs(tmp_path / "pacs") as pacs, LoopbackRis(tmp_path / "ris") as ris:
        node = Node(tmp_path / "node", _settings(backend, tiny_model, pacs.port, ris.port))
        yield House(node, tmp_path / "pacs", tmp_path / "ris", Sent(template))
        node.kill_all()
        gc.collect()  # what is left of broken associations, while its warnings are ignored


def test_random_kills_under_load_lose_and_double_nothing(house: House) -> None:
    node, chance = house.node, random.Random(20_261_125)
    node.start()
    senders = [
        threading.Thread(target=house.sent.keep_sending, args=(f"S{each}N", node.port)) for each in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    victims = [*VICTIMS, *chance.choices(VICTIMS, k=RANDOM_KILLS - len(VICTIMS))]
    chance.shuffle(victims)
    for victim in victims:
        _kill(node, victim, after_s=chance.uniform(0.05, 1.0))
    house.sent.stop.set()
    for sender in senders:
        sender.join()
    print(f"killed {dict(Counter(victims))}; acknowledged {len(house.sent.acknowledged)} films")
    assert len(house.sent.acknowledged) > 10
    _check_promises(house)


def test_a_kill_at_every_step_loses_and_doubles_nothing(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed = tmp_path / "armed"
    armed.mkdir()
    monkeypatch.setenv("DIE_ARMED", str(armed))
    monkeypatch.setenv("DIE_STEPS", ",".join(chain.from_iterable(ROUNDS)))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "die"))
    house.node.start()
    for number, steps in enumerate(ROUNDS):
        for step in steps:
            (armed / step.replace(":", "@")).touch()
        house.sent.send(f"ROUND{number}", house.node.port)
        wait_until(lambda: not list(armed.iterdir()), 120, f"roles die at {', '.join(steps)}")
    _check_promises(house)


def _kill(node: Node, victim: str, after_s: float) -> None:
    """Kill a role, the supervisor or everything, after a moment in which it may work."""
    threading.Event().wait(after_s)
    if victim == "everything":
        node.kill_all()
        node.start()
    elif victim == "supervisor":
        node.kill_supervisor()  # the roles end by themselves
        node.start()
    else:
        alive: dict[str, int] = {}
        wait_until(lambda: alive.update(node.role_pids()) or victim in alive, 60, f"the {victim} is alive")
        kill(alive[victim])


def _check_promises(house: House) -> None:
    acknowledged = house.sent.acknowledged
    statuses = house.node.wait_settled(len(acknowledged), timeout_s=300)
    stored = _stored(house.node)
    lost = {uid for uid, data_set in acknowledged.items() if not stored.get(uid, b"").endswith(data_set)}
    assert not lost, f"{len(lost)} acknowledged instances are lost or changed"
    assert Counter(status.where for status in statuses.values()) == {"done": len(statuses)}
    _check_one_each(_studies_in_pacs(house.pacs_folder), set(statuses))
    _check_one_each(_studies_in_ris(house.ris_folder), set(statuses))
    _check_same_bytes(house.pacs_folder)
    _check_same_bytes(house.ris_folder)
    assert "CANARY" not in house.node.log.read_text(encoding="utf-8", errors="replace")


def _stored(node: Node) -> dict[str, bytes]:
    """SOP Instance UID → the file that its row names."""
    folder = node.settings().instances_dir
    with node.sessions()() as session:
        rows = session.exec(select(Instance)).all()
    return {row.sop_instance_uid: (folder / row.path).read_bytes() for row in rows}


def _studies_in_pacs(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for file in folder.glob("*.dcm"):
        ds = dcmread(file)
        found[str(ds.StudyInstanceUID)].add(str(ds.SOPInstanceUID))
    return found


def _studies_in_ris(folder: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for file in folder.glob("*.hl7"):
        segments = [line.split("|") for line in file.read_bytes().decode().split("\r")]
        uid = next(each[5] for each in segments if each[0] == "OBX" and each[3].startswith("113014"))
        found[uid].add(segments[0][9])
    return found


def _check_one_each(found: dict[str, set[str]], studies: set[str]) -> None:
    assert set(found) == studies
    doubled = {uid: identifiers for uid, identifiers in found.items() if len(identifiers) != 1}
    assert not doubled


def _check_same_bytes(folder: Path) -> None:
    """Whatever was sent again was the same bytes."""
    versions: dict[str, set[str]] = defaultdict(set)
    for receipt in read_receipts(folder):
        versions[receipt.identifier].add(receipt.sha256)
    assert all(len(each) == 1 for each in versions.values())


def _store(ds: Dataset, port: int) -> bool:
    ae = Requestor("MODALITY", timeout_s=30)  # which closes the sockets that pynetdicom forgets
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout = 2, 5, 10
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRNODE")
    if not assoc.is_established:
        return False
    try:
        return assoc.send_c_store(ds).get("Status") == 0x0000
    except (RuntimeError, ValueError):  # the association broke
        return False
    finally:
        assoc.release()


def _on_the_wire(ds: Dataset) -> bytes:
    encoded = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert encoded
    return encoded


def _settings(backend: str, tiny_model: Path, pacs_port: int, ris_port: int) -> str:
    return f"""
model_dir = "{tiny_model}"
idle_timeout_s = 0.5
max_job_attempts = 1000
max_delivery_attempts = 1000
retry_after_s = 0.2
max_retry_after_s = 1.0
inference_timeout_s = 10.0
{backend}
[[pacs]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
timeout_s = 5.0
[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
timeout_s = 5.0
"""
