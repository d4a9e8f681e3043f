"""Published radiographs through the whole house: a draft of every frontal chest film, a reason for every other one."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import hl7
import pytest
from films import shared_data
from house import Node, absent, is_open, require, shared_tool, storescu, wait_until
from orthanc import Held, Orthanc, running_orthanc
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from waiting import free_port

from dicom_node.product import SYNTHETIC
from dicom_node.timeline import StudyStatus
from integration.simulators.inbox import read_receipts
from integration.simulators.ris import LoopbackRis

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
DRAFTED = ""
CROPPED = "; check: the draft is of a part of the image"  # if its sides differ much
# With every checker, 7 s each: the longest accession number, no patient's ID, no name, no name in UTF-8.
VALIDATED_BY_ALL = {"966_fixed.dcm", "panimg_CR-MONO1-10-chest.dcm", "dicom_00000001_000.dcm", "simpleitk_cxr.dcm"}
QUICK_CHECKERS = ["--only", "dciodvfy,dsrdump"]
LONGEST_SH = 16  # PS3.5 6.2: a longer accession number is left out of the SR, and whole in the ORU
NO_PATIENT_ID, NO_NAME = "^^^^U", "^^^^^^U"  # HL7 tables 0203 and 0200: unspecified
NODE_PEERS = Path.home() / ".cache" / "dicom-node-tests" / "hl7_peers"

# Why a node that vouches for nobody drafts nothing; the empty reason: it drafts.
OF_A_STRANGER = {
    "cxr_dicom/966_fixed.dcm": DRAFTED,
    "cxr_dicom/RG1_JLSN.dcm": DRAFTED,
    "cxr_dicom/rsna_16d7f894_PA.dcm": DRAFTED,
    "cxr_dicom/dicom_00000001_000.dcm": "body part not stated",
    "cxr_dicom/nih_pt2527_nodule.dcm": "body part not stated",
    "cxr_dicom/nih_pt61_effusion.dcm": "view not stated",
    "cxr_dicom/simpleitk_cxr.dcm": "view not stated",
    "non_chest/RG2_JPLL.dcm": "not a radiograph of the chest (body part HIP)",
    "non_chest/RG3_JPLY.dcm": "not a radiograph of the chest (body part EXTREMITY)",
    "non_chest/RG3_RLE.dcm": "not a radiograph of the chest (body part EXTREMITY)",
    "non_chest/mg_voilut3_GH133.dcm": "no radiograph (CR, DX or secondary capture)",
    "cxr_dicom/panimg_CR-MONO1-10-chest.dcm": DRAFTED,
}
# The same for a sender whose films are vouched for as frontal chest films: what a header says still counts.
# Two of these share UIDs with films above.
OF_A_VOUCHED_SENDER = {
    "cxr_dicom/RG1_J2KI.dcm": DRAFTED,
    "cxr_dicom/rsna_16d7f894_fake_MONOCHROME1.dcm": DRAFTED,
    "cxr_dicom/dicom_00000001_000.dcm": DRAFTED,
    "cxr_dicom/nih_pt2527_nodule.dcm": DRAFTED,
    "cxr_dicom/nih_pt61_effusion.dcm": DRAFTED,
    "non_chest/RG2_JPLL.dcm": "not a radiograph of the chest (body part HIP)",
    "non_chest/RG3_RLE.dcm": "not a radiograph of the chest (body part EXTREMITY)",
    "non_chest/mg_voilut3_GH133.dcm": "no radiograph (CR, DX or secondary capture)",
    "cxr_dicom/simpleitk_cxr.dcm": DRAFTED,
}
VOUCHED = '[peers.STORESCU]\naddresses = ["127.0.0.0/8"]\nassume_chest = true\nassume_frontal = true\n'


@dataclass
class House:
    """A fresh node between its senders, a real PACS and a simulated RIS."""

    node: Node
    pacs: Orthanc
    ris_folder: Path
    folder: Path

    def send(self, file: Path) -> None:
        done = storescu(self.node.port, file)
        assert done.returncode == 0, done.stderr

    def reports(self) -> list[Held]:
        return [each for each in self.pacs.instances() if each.sop_class_uid == BASIC_TEXT_SR]

    def messages(self) -> list[hl7.Message]:
        return [hl7.parse(file.read_bytes().decode("utf-8")) for file in sorted(self.ris_folder.glob("*.hl7"))]


@contextmanager
def _house(folder: Path, toml: str) -> Iterator[House]:
    with running_orthanc(folder / "orthanc") as pacs, LoopbackRis(folder / "ris") as ris:
        receiver = f'[[ris]]\nname = "ris"\nhost = "127.0.0.1"\nport = {ris.port}\n'
        node = Node(folder / "node", toml + pacs.toml + receiver)
        node.start()
        try:
            yield House(node, pacs, folder / "ris", folder)
        finally:
            node.stop()


def test_films_of_strangers_are_drafted_once_or_skipped_with_a_reason(
    tmp_path: Path, backend: str, tiny_model: Path
) -> None:
    reports = _check_films(tmp_path, _settings(tiny_model) + backend, OF_A_STRANGER)
    _validate(reports, is_quick=bool(backend))


def test_films_of_a_vouched_sender_are_drafted_though_their_header_is_silent(
    tmp_path: Path, backend: str, tiny_model: Path
) -> None:
    reports = _check_films(tmp_path, _settings(tiny_model) + backend + VOUCHED, OF_A_VOUCHED_SENDER)
    _validate(reports, is_quick=bool(backend))


def test_two_independent_risses_take_the_report_of_a_real_film(tmp_path: Path, tiny_model: Path) -> None:
    film = shared_data("cxr_dicom", "panimg_CR-MONO1-10-chest.dcm")
    with _node_receivers(tmp_path) as (ports, journal):
        receivers = "".join(
            f'[[ris]]\nname = "ris{port}"\nhost = "127.0.0.1"\nport = {port}\ntimeout_s = 10.0\n' for port in ports
        )
        node = Node(tmp_path / "node", _settings(tiny_model) + receivers)
        node.start()
        try:
            assert storescu(node.port, film).returncode == 0
            (status,) = node.wait_settled(1).values()
            told = node.command("status", str(status.study_id))
        finally:
            node.stop()
        received = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()][1:]
    assert status.where == "done", status.why
    assert [told.count(f"ris{port} took the report (AA)") for port in ports] == [1, 1]
    assert sorted(each["peer"] for each in received) == ["@medplum/hl7", "node-hl7-server"]
    assert all(each["type"].startswith("ORU^R01") and each["obr25"] == "P" for each in received)
    assert len({each["control_id"] for each in received}) == 2
    assert all(status.study_instance_uid in each["obx5"] for each in received)


def _check_films(folder: Path, toml: str, expected: Mapping[str, str]) -> dict[str, Path]:
    """Send all but the last, then all of them and the PACS's reports again, then the last: nothing comes twice.

    Returns the report of each drafted film, by the film's name.
    """
    films = {name: shared_data(*name.split("/")) for name in expected}
    headers = {name: _header(file) for name, file in films.items()}
    *early, last = expected
    with _house(folder, toml) as house:
        for name in early:
            house.send(films[name])
        house.node.wait_settled(len(early))
        for name in early:
            house.send(films[name])
        for held in house.reports():
            house.send(house.pacs.download(held, folder))
        house.send(films[last])
        statuses = house.node.wait_settled(len(expected))
        told = _told(house.node)
        log = house.node.log.read_text(encoding="utf-8")
        files = {held.study_instance_uid: house.pacs.download(held, folder) for held in house.reports()}
        for name, reason in expected.items():
            _check_status(name, statuses[headers[name].StudyInstanceUID], reason, told)
        drafted = [headers[name] for name, reason in expected.items() if reason == DRAFTED]
        _check_reports(house.reports(), drafted)
        _check_messages(house, drafted)
    _check_log(log, list(headers.values()))
    return {name: files[headers[name].StudyInstanceUID] for name, reason in expected.items() if reason == DRAFTED}


def _check_status(name: str, status: StudyStatus, reason: str, told: Mapping[int, str]) -> None:
    where, why = ("done", f"{SYNTHETIC}: every destination has the draft") if reason == DRAFTED else ("skipped", reason)
    print(f"{name}: {status.where} ({status.why}), {status.object_count} objects")
    assert (name, status.where, status.why.removesuffix(CROPPED)) == (name, where, why)
    assert told[status.study_id] == f"{where} {status.why}"
    # The report that came back from the PACS is kept beside the film.
    is_echoed = reason == DRAFTED and status.object_count == 2
    assert is_echoed or status.object_count == 1


def _told(node: Node) -> dict[int, str]:
    """What `dicom-node status` says of each study, by the study's number."""
    rows = [line.split("│") for line in node.command("status").splitlines() if line.count("│") == 6]
    return {int(row[1]): f"{row[4].strip()} {row[5].strip()}" for row in rows}


def _check_reports(reports: list[Held], films: list[Dataset]) -> None:
    """One report of each film in the PACS, in the film's study, of the film's patient."""
    found = sorted((each.study_instance_uid, each.patient_name, each.patient_id) for each in reports)
    assert found == sorted((str(each.StudyInstanceUID), *_patient(each)) for each in films)
    accessions = {each.StudyInstanceUID: _text(each, "AccessionNumber") for each in films}
    expected = {uid: accession if len(accession) <= LONGEST_SH else "" for uid, accession in accessions.items()}
    assert {each.study_instance_uid: each.accession_number for each in reports} == expected


def _check_messages(house: House, films: list[Dataset]) -> None:
    """One message about each film in the RIS, sent once."""
    receipts = read_receipts(house.ris_folder)
    assert len({each.identifier for each in receipts}) == len(receipts) == len(films)
    messages = {_observed(message, "113014"): message for message in house.messages()}
    reports = {each.study_instance_uid: each for each in house.reports()}
    assert set(messages) == {each.StudyInstanceUID for each in films}
    for film in films:
        message = messages[film.StudyInstanceUID]
        name, identifier = _patient(film)
        assert str(message.segment("PID")(5)) == (name or NO_NAME)
        assert str(message.segment("PID")(3)).startswith(f"{identifier}^" if identifier else NO_PATIENT_ID)
        assert str(message.segment("OBR")(18)) == _text(film, "AccessionNumber")
        assert _observed(message, "SR_UID") == reports[film.StudyInstanceUID].sop_instance_uid


def _observed(message: hl7.Message, code: str) -> str:
    """OBX-5 of the row of that code."""
    (value,) = [str(row(5)) for row in message.segments("OBX") if str(row(3)).startswith(code)]
    return value


def _header(file: Path) -> Dataset:
    return dcmread(file, stop_before_pixels=True)


def _text(ds: Dataset, keyword: str) -> str:
    with config.disable_value_validation():
        return str(ds.get(keyword) or "")


def _patient(ds: Dataset) -> tuple[str, str]:
    return _text(ds, "PatientName"), _text(ds, "PatientID")


def _check_log(log: str, films: list[Dataset]) -> None:
    for words in {word for film in films for word in _patient(film) if len(word) > 4}:
        assert words not in log
    assert "uncaught_exception" not in log
    assert "Traceback" not in log


def _validate(reports: Mapping[str, Path], *, is_quick: bool) -> None:
    """No checker finds an error."""
    script = shared_tool("validate_sr", "validate_sr.sh")
    thorough = [file for name, file in reports.items() if Path(name).name in VALIDATED_BY_ALL and not is_quick]
    quick = [file for file in reports.values() if file not in thorough]
    for files, options in ((quick, QUICK_CHECKERS), (thorough, [])):
        if files:
            command = [script, "--errors-only", *options, *files]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(done.stdout)
            if done.returncode == 3:
                absent(f"a validator is not set up: {done.stdout}")
            assert done.returncode == 0, done.stdout + done.stderr


def _settings(tiny_model: Path) -> str:
    return f'model_dir = "{tiny_model}"\nidle_timeout_s = 0.5\n'


@contextmanager
def _node_receivers(folder: Path) -> Iterator[tuple[tuple[int, int], Path]]:
    """Two unrelated Node.js libraries as RIS; gives their ports and the file they write to, a JSON line each time."""
    require("node", "npm")
    _install_receivers(shared_tool("hl7_peers"))
    ports, journal = (free_port(), free_port()), folder / "receivers.jsonl"
    command = ["node", NODE_PEERS / "receivers.cjs", "--ports", f"{ports[0]},{ports[1]}", "--seconds", "0"]
    with ExitStack() as stack:
        output = stack.enter_context(journal.open("wb"))
        process = stack.enter_context(subprocess.Popen(command, stdout=output))
        stack.callback(process.terminate)
        wait_until(lambda: all(map(is_open, ports)), 30, "both receivers listen")
        yield ports, journal


def _install_receivers(source: Path) -> None:
    """`npm install` in a copy that stays for the next time."""
    if (NODE_PEERS / "node_modules" / ".package-lock.json").exists():
        return
    NODE_PEERS.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "receivers.cjs"):
        shutil.copyfile(source / name, NODE_PEERS / name)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
    if subprocess.run(command, cwd=NODE_PEERS, capture_output=True, check=False, timeout=240).returncode:
        absent("npm install failed: no registry in reach")
