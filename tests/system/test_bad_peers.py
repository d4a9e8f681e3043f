"""A PACS and a RIS that refuse, hang, lie or are away: each report ends where the acknowledgement tables say."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from films import write_dx
from house import Node, require, storescu, wait_until
from pydicom import dcmread
from sqlmodel import select
from waiting import free_port

from dicom_node.models import Delivery, Job, Report, Study
from dicom_node.timeline import StudyStatus
from dicom_node.uids import derive_uid
from integration.simulators.inbox import Receipt, read_receipts
from integration.simulators.pacs import NO_FAULT, LoopbackPacs, PacsFault
from integration.simulators.ris import FAULTS, LoopbackRis, acknowledge, answer_with

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    # pynetdicom leaves open the socket of a sender that hung up first, and here it does while the PACS hangs.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TIMEOUT_S = 4.0  # a loaded machine answers within it
HANG_S = 5.0
UNDER_WAY = ("pending", "sending")
LONG_S = 60  # only ever waited for when something is broken


@dataclass
class House:
    """One node between a PACS and a RIS whose faults change while it runs."""

    node: Node
    pacs: LoopbackPacs
    ris: LoopbackRis
    pacs_folder: Path
    ris_folder: Path

    def __post_init__(self) -> None:
        self.numbers = count(1)
        self.patients: dict[str, str] = {}  # Study Instance UID → Patient ID

    def send(self) -> str:
        """Send a film of a study of its own; returns the Study Instance UID."""
        name = f"CANARY{next(self.numbers)}"
        uids = {
            f"{level}InstanceUID": str(derive_uid("bad peers", name, level)) for level in ("Study", "Series", "SOP")
        }
        done = storescu(self.node.port, write_dx(self.node.folder / f"{name}.dcm", PatientID=name, **uids))
        assert done.returncode == 0, done.stderr
        self.patients[uids["StudyInstanceUID"]] = name
        return uids["StudyInstanceUID"]

    def delivery(self, study: str, destination: str) -> Delivery | None:
        found = select(Delivery).join(Report).join(Job).join(Study)
        with self.node.sessions()() as session:
            return session.exec(
                found.where(Study.study_instance_uid == study, Delivery.destination == destination)
            ).first()

    def wait(self, study: str, destination: str, *states: str, attempts: int = 0) -> Delivery:
        """Wait until the delivery is in one of these states after so many tries."""

        def is_there() -> bool:
            row = self.delivery(study, destination)
            return row is not None and row.state in states and row.attempts >= attempts

        wait_until(is_there, LONG_S, f"the delivery to {destination} is {' or '.join(states)} after {attempts} tries")
        row = self.delivery(study, destination)
        assert row is not None
        return row

    def wait_settled(self, study: str) -> StudyStatus:
        wait_until(lambda: self._status(study).where in ("done", "failed"), LONG_S, "the study is settled")
        return self._status(study)

    def receipts(self, delivery: Delivery) -> list[Receipt]:
        """What its peer got of it."""
        folder = self.pacs_folder if delivery.destination == "pacs" else self.ris_folder
        return [each for each in read_receipts(folder) if each.identifier == delivery.identifier]

    def wait_received(self, study: str, destination: str) -> None:
        """Wait until the peer has got a try of it."""

        def has_it() -> bool:
            row = self.delivery(study, destination)
            return row is not None and bool(self.receipts(row))

        wait_until(has_it, LONG_S, f"the {destination} has got it")

    def told(self, study: str) -> str:
        """`dicom-node status` of one study."""
        return self.node.command("status", str(self._status(study).study_id))

    def retry(self, study: str) -> None:
        self.node.command("retry", str(self._status(study).study_id))

    def _status(self, study: str) -> StudyStatus:
        return self.node.statuses(self.node.sessions())[study]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, module_backend: str) -> Iterator[House]:
    require("storescu")
    folder = tmp_path_factory.mktemp("bad-peers")
    # Not of the ports that the system gives to clients: one could have them while a peer is down.
    pacs, ris = LoopbackPacs(folder / "pacs", port=free_port()), LoopbackRis(folder / "ris", port=free_port())
    with pacs, ris:
        node = Node(folder / "node", module_backend + _settings(tiny_model, pacs.port, ris.port))
        node.start()
        house = House(node, pacs, ris, folder / "pacs", folder / "ris")
        try:
            yield house
        finally:
            node.stop()
            house.pacs.__exit__()  # other ones than above, once they were down
            house.ris.__exit__()


@pytest.fixture(autouse=True)
def _healthy(house: House) -> Iterator[None]:
    yield
    house.pacs.fault, house.ris.reply = NO_FAULT, acknowledge


@pytest.mark.parametrize("status", [0xC000, 0xA900, 0x0122, 0x0124])
def test_a_report_that_the_pacs_refuses_fails_until_a_person_retries(house: House, status: int) -> None:
    house.pacs.fault = PacsFault(status=status)
    study = house.send()
    assert house.wait_settled(study).where == "failed"
    refused = house.wait(study, "pacs", "failed")
    assert (refused.ack_code, refused.attempts) == (f"{status:04X}", 1)
    assert house.wait(study, "ris", "delivered").ack_code == "AA"
    assert f"status {status:04X}" in house.told(study)
    house.pacs.fault = NO_FAULT
    house.retry(study)
    assert house.wait_settled(study).where == "done"
    _check_same_bytes(house, study, "pacs", at_least=2)
    _check_not_sent_again(house, study, "ris")


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_a_warning_or_a_duplicate_is_a_delivery(house: House, status: int) -> None:
    house.pacs.fault = PacsFault(status=status)
    study = house.send()
    assert house.wait_settled(study).where == "done"
    delivered = house.wait(study, "pacs", "delivered")
    assert (delivered.ack_code, delivered.attempts) == (f"{status:04X}", 1)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(PacsFault(status=0xA700), id="out of resources"),
        pytest.param(PacsFault(status=0x0110), id="processing failure"),
        pytest.param(PacsFault(hang_s=HANG_S), id="hangs"),
        pytest.param(PacsFault(abort=True), id="aborts"),
        pytest.param(PacsFault(rejection=(1, 1, 3)), id="does not know us"),
        pytest.param(PacsFault(rejection=(2, 3, 2)), id="is too busy"),
    ],
)
def test_a_pacs_that_heals_gets_the_same_bytes_and_the_ris_does_not_wait(house: House, fault: PacsFault) -> None:
    house.pacs.fault = fault
    study = house.send()
    assert house.wait(study, "ris", "delivered").ack_code == "AA"
    waiting = house.delivery(study, "pacs")
    assert waiting is not None
    assert waiting.state in UNDER_WAY
    house.wait(study, "pacs", *UNDER_WAY, attempts=2)
    if not fault.rejection:
        house.wait_received(study, "pacs")  # on a busy machine a try may end before the PACS has it
    house.pacs.fault = NO_FAULT
    assert house.wait_settled(study).where == "done"
    _check_same_bytes(house, study, "pacs", at_least=1 if fault.rejection else 2)


def test_a_pacs_that_was_down_gets_the_report_when_it_is_up(house: House) -> None:
    house.pacs.__exit__()
    study = house.send()
    assert house.wait(study, "ris", "delivered").ack_code == "AA"
    house.wait(study, "pacs", "pending", attempts=2)
    assert "cannot be reached" in house.told(study)
    house.pacs = LoopbackPacs(house.pacs_folder, port=house.pacs.port).__enter__()
    assert house.wait_settled(study).where == "done"
    _check_same_bytes(house, study, "pacs", at_least=1)


def test_a_message_with_an_error_is_parked_until_a_person_retries(house: House) -> None:
    house.ris.reply = answer_with("AE", "101")
    study = house.send()
    assert house.wait_settled(study).where == "failed"
    refused = house.wait(study, "ris", "failed")
    assert (refused.ack_code, refused.attempts) == ("AE", 1)
    assert house.wait(study, "pacs", "delivered").ack_code == "0000"
    assert "101 required field missing" in house.told(study)
    house.ris.reply = acknowledge
    house.retry(study)
    assert house.wait_settled(study).where == "done"
    _check_same_bytes(house, study, "ris", at_least=2)
    _check_not_sent_again(house, study, "pacs")


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"AE"}))
def test_a_ris_that_heals_gets_the_same_bytes_and_the_pacs_does_not_wait(house: House, fault: str) -> None:
    house.ris.reply = FAULTS[fault]
    study = house.send()
    assert house.wait(study, "pacs", "delivered").ack_code == "0000"
    waiting = house.delivery(study, "ris")
    assert waiting is not None
    assert waiting.state in UNDER_WAY
    house.wait(study, "ris", *UNDER_WAY, attempts=2)
    house.wait_received(study, "ris")
    house.ris.reply = acknowledge
    assert house.wait_settled(study).where == "done"
    _check_same_bytes(house, study, "ris", at_least=2)


def test_a_ris_that_was_down_gets_the_message_when_it_is_up(house: House) -> None:
    house.ris.__exit__()
    study = house.send()
    assert house.wait(study, "pacs", "delivered").ack_code == "0000"
    house.wait(study, "ris", "pending", attempts=2)
    assert "cannot be reached" in house.told(study)
    house.ris = LoopbackRis(house.ris_folder, port=house.ris.port).__enter__()
    assert house.wait_settled(study).where == "done"
    _check_same_bytes(house, study, "ris", at_least=1)


def test_nothing_was_lost_and_nothing_is_in_a_wrong_study(house: House) -> None:
    """After all of the above."""
    study = house.send()
    house.wait_settled(study)
    statuses = house.node.statuses(house.node.sessions())
    assert {uid: each.where for uid, each in statuses.items()} == dict.fromkeys(house.patients, "done")
    reports = [dcmread(file) for file in house.pacs_folder.glob("*.dcm")]
    # A PACS that says it has the report already (0111) is believed; this one lied.
    believed = {uid for uid in house.patients if house.wait(uid, "pacs", "delivered").ack_code == "0111"}
    found = sorted((str(each.StudyInstanceUID), str(each.PatientID)) for each in reports)
    assert found == sorted((uid, patient) for uid, patient in house.patients.items() if uid not in believed)
    messages = [file.read_bytes().decode("utf-8").split("\r") for file in house.ris_folder.glob("*.hl7")]
    assert sorted(map(_subject, messages)) == sorted(house.patients.items())
    log = house.node.log.read_text(encoding="utf-8")
    assert not [word for word in ("CANARY", "uncaught_exception", "Traceback") if word in log]


def _check_same_bytes(house: House, study: str, destination: str, *, at_least: int) -> None:
    receipts = house.receipts(house.wait(study, destination, "delivered"))
    print(f"{destination}: {len(receipts)} receipts")
    assert len(receipts) >= at_least
    assert len({each.sha256 for each in receipts}) == 1


def _check_not_sent_again(house: House, study: str, destination: str) -> None:
    """A person's retry leaves what was delivered; on a busy machine an answer may have come too late for the first."""
    delivery = house.wait(study, destination, "delivered")
    assert len(house.receipts(delivery)) <= delivery.attempts
    assert len({each.sha256 for each in house.receipts(delivery)}) == 1


def _subject(segments: list[str]) -> tuple[str, str]:
    """The study and the patient of an ORU."""
    rows = [segment.split("|") for segment in segments]
    (study,) = [row[5] for row in rows if row[0] == "OBX" and row[3].startswith("113014^")]
    (patient,) = [row[3].split("^")[0] for row in rows if row[0] == "PID"]
    return study, patient


def _settings(tiny_model: Path, pacs_port: int, ris_port: int) -> str:
    return f"""
model_dir = "{tiny_model}"
idle_timeout_s = 0.3
retry_after_s = 0.2
max_retry_after_s = 1.0
[[pacs]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
timeout_s = {TIMEOUT_S}
[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
timeout_s = {TIMEOUT_S}
"""
