"""Patients' names in every character set, there and back: film → node → SR in the PACS and ORU in the RIS."""

import json
import re
import struct
import subprocess
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from films import SHARED_DATA, make_dx, shared_data, shared_names
from house import Node, require, storescu
from orthanc import Held, running_orthanc
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag

from dicom_node.timeline import StudyStatus
from dicom_node.uids import derive_uid
from integration.simulators.ris import LoopbackRis

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

UNKNOWN_TO_ORTHANC = {"charset/chrH32.dcm", "charset/chrJapMultiExplicitIR6.dcm"}  # it takes the first of two sets
UNREADABLE = ["DCMTK built with the C library's iconv does not know ISO 2022 IR 87"]
SPECIFIC_CHARACTER_SET, PATIENT_NAME = BaseTag(0x00080005), BaseTag(0x00100010)


@dataclass(frozen=True)
class Name:
    """The bytes of (0008,0005) and (0010,0010) as a file has them; None: the element is absent."""

    character_set: bytes | None
    patient_name: bytes
    text: str  # what it means


# Empty and absent, with the default repertoire and with the Latin-1 that many senders mean by it.
OWN_NAMES = {
    "empty": Name(b"", b"Doe^Jane", "Doe^Jane"),
    "absent": Name(None, b"Doe^Jane", "Doe^Jane"),
    "absent, Latin-1": Name(None, "Müller^Zoë".encode("latin-1"), "Müller^Zoë"),
    "misspelt": Name(b"ISO IR 100", "Müller^Zoë".encode("latin-1"), "Müller^Zoë"),
    "delimiters of HL7": Name(b"ISO_IR 192", "O'Neil|&~^Zoë".encode(), "O'Neil|&~^Zoë"),
}
WITHOUT_A_NAME = {"chrSQEncoding.dcm", "chrSQEncoding1.dcm", "empty_charset_LEI.dcm"}
FILES = [name for name in shared_names("charset") if Path(name).name not in WITHOUT_A_NAME]


@dataclass(frozen=True)
class Delivered:
    """What came of one film."""

    name: Name
    status: StudyStatus
    held: Held  # as Orthanc reads it
    report: Path
    message: str


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, module_backend: str) -> dict[str, Delivered]:
    """Every name through one node."""
    require("storescu", "dcm2json")
    folder = tmp_path_factory.mktemp("charset")
    names = {file: _name_of(SHARED_DATA / file) for file in FILES} | OWN_NAMES
    with running_orthanc(folder / "orthanc") as pacs, LoopbackRis(folder / "ris") as ris:
        node = Node(folder / "node", module_backend + _settings(tiny_model, ris.port) + pacs.toml)
        node.start()
        try:
            for number, (title, name) in enumerate(names.items()):
                done = storescu(node.port, _write_film(folder / f"{number}.dcm", title, name))
                assert done.returncode == 0, done.stderr
            statuses = node.wait_settled(len(names), timeout_s=300)
            reports = {held.study_instance_uid: (held, pacs.download(held, folder)) for held in pacs.instances()}
        finally:
            node.stop()
    messages = {_study_of(text): text for text in map(_read, (folder / "ris").glob("*.hl7"))}
    uids = {title: derive_uid("charset", title, "Study") for title in names}
    return {title: Delivered(names[title], statuses[uid], *reports[uid], messages[uid]) for title, uid in uids.items()}


@pytest.mark.parametrize("title", [*FILES, *OWN_NAMES])
def test_a_name_comes_back_as_it_was_sent(delivered: dict[str, Delivered], title: str) -> None:
    each = delivered[title]
    expected = _groups(each.name.text)
    print(f"{title}: {each.name.character_set!r} → {dcmread(each.report).get('SpecificCharacterSet')}: {expected}")
    assert each.status.where == "done", each.status.why
    assert _groups(str(dcmread(each.report).PatientName)) == expected
    if title in UNKNOWN_TO_ORTHANC:
        assert _name_of(each.report).patient_name == each.name.patient_name
    else:
        assert _groups(each.held.patient_name) == expected
    assert _as_dcmtk_reads(each.report) in (expected, UNREADABLE)
    assert _pid_5(each.message) == expected
    assert "\ufffd" not in each.message


def test_the_published_files_are_there() -> None:
    shared_data("charset")
    assert len(FILES) == 15


def _as_dcmtk_reads(file: Path) -> list[str]:
    done = subprocess.run(["dcm2json", "-fc", file], capture_output=True, check=False)
    if b"is not supported by the utilized character set conversion library" in done.stderr:
        return UNREADABLE
    assert done.returncode == 0, done.stderr
    (value,) = json.loads(done.stdout)["00100010"]["Value"]
    return _groups("=".join(value.get(each, "") for each in ("Alphabetic", "Ideographic", "Phonetic")))


def _pid_5(message: str) -> list[str]:
    """The groups of a DICOM name from the repetitions of an XPN: family, given, middle, suffix, prefix, …, script."""
    (pid,) = [segment for segment in message.split("\r") if segment.startswith("PID|")]
    groups = {"A": "", "I": "", "P": ""}
    for repetition in pid.split("|")[5].split("~"):
        parts = [*repetition.split("^"), *[""] * 8]
        groups[parts[7] or "A"] = "^".join(_unescaped(parts[each]) for each in (0, 1, 2, 4, 3))
    return _groups("=".join(groups.values()))


def _unescaped(text: str) -> str:
    """HL7 2.5.1 2.7.1."""
    characters = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}
    return re.sub(r"\\([FSTRE])\\", lambda found: characters[found[1]], text)


def _groups(name: str) -> list[str]:
    """Without what is empty at the ends (PS3.5 6.2.1)."""
    return "=".join(group.rstrip("^ ") for group in name.split("=")).rstrip("=").split("=")


def _study_of(message: str) -> str:
    (row,) = [
        segment.split("|") for segment in message.split("\r") if segment.startswith("OBX|") and "|113014^" in segment
    ]
    return row[5]


def _read(file: Path) -> str:
    return file.read_bytes().decode("utf-8")


def _name_of(file: Path) -> Name:
    """The exact bytes, cut out of an Explicit VR Little Endian file."""
    content = file.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")  # PS3.10 7.1: behind the file meta information
    raw = {each.tag: each.value for each in data_element_generator(BytesIO(content[start:]), False, True)}
    return Name(raw.get(SPECIFIC_CHARACTER_SET), raw[PATIENT_NAME], str(dcmread(file).PatientName))


def _write_film(file: Path, title: str, name: Name) -> Path:
    """A small chest film of its own study, with exactly these bytes in it."""
    uids = {f"{level}InstanceUID": derive_uid("charset", title, level) for level in ("Study", "Series", "SOP")}
    ds = make_dx(PatientName=None, PatientID=f"CANARY{file.stem}", **uids)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    empty, meta = Dataset(), BytesIO()
    empty.file_meta = ds.file_meta
    dcmwrite(meta, empty, enforce_file_format=True)
    pieces = [meta.getvalue(), _bytes_of(ds[:PATIENT_NAME]), _element(PATIENT_NAME, b"PN", name.patient_name)]
    if name.character_set is not None:
        pieces.insert(1, _element(SPECIFIC_CHARACTER_SET, b"CS", name.character_set))
    file.write_bytes(b"".join([*pieces, _bytes_of(ds[PATIENT_NAME:])]))
    return file


def _bytes_of(ds: Dataset) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _element(tag: BaseTag, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag.group, tag.element, vr, len(value)) + value


def _settings(tiny_model: Path, ris_port: int) -> str:
    return f"""
model_dir = "{tiny_model}"
idle_timeout_s = 0.5
[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
"""
