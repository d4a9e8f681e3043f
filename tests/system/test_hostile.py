"""What no honest peer sends: each is refused with a status, or kept and skipped with a reason; the node works on."""

import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from films import dx_bytes, shared_data, write_dx
from house import Node, require, storescu, wait_until
from pydicom import dcmread
from stored_files import unfinished_files
from wire import Refused, Wire, association_request, fragment, store_command

from dicom_node.uids import derive_uid
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DX = "1.2.840.10008.5.1.4.1.1.1.1"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG_2000 = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.90"
CT_IMAGE, STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
# PS3.4 table B.2-1
SUCCESS, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA900, 0xC000
NO_CONTEXT = "the SOP class is not accepted"
OTHER_OBJECT = "no radiograph (CR, DX or secondary capture)"
PASSES, SETTLED = 20, 8  # by then the allocator has what its threads need
GROWTH_MB = 10  # from then on; one kept copy of each object would be 58 MB
SILENT_CLIENTS = 20

# File → the answer to its C-STORE.
ANSWERS: dict[str, int | str] = {
    "DICOMDIR": NO_CONTEXT,
    "DICOMDIR-empty.dcm": NO_CONTEXT,
    "DICOMDIR-nooffset": NO_CONTEXT,
    "DICOMDIR-nopatient": NO_CONTEXT,
    "ExplVR_BigEndNoMeta.dcm": SUCCESS,
    "ExplVR_LitEndNoMeta.dcm": SUCCESS,
    "J2K_pixelrep_mismatch.dcm": SUCCESS,
    "JPEG2000-embedded-sequence-delimiter.dcm": SUCCESS,
    "MR_small_padded.dcm": SUCCESS,
    "MR_truncated.dcm": CANNOT_UNDERSTAND,
    "SC_rgb_small_odd.dcm": SUCCESS,
    "UN_sequence.dcm": CANNOT_UNDERSTAND,
    "badVR.dcm": SUCCESS,
    "bad_sequence.dcm": CANNOT_UNDERSTAND,
    "cr_chest_no_pixels.dcm": SUCCESS,
    "cxr_966_bad_j2k_marker.dcm": SUCCESS,
    "emri_small_jpeg_2k_lossless_too_short.dcm": SUCCESS,
    "explicit_VR-UN.dcm": SUCCESS,
    "meta_missing_tsyntax.dcm": CANNOT_UNDERSTAND,
    "nested_priv_SQ.dcm": CANNOT_UNDERSTAND,
    "no-pixel-data.dcm": SUCCESS,
    "no_meta.dcm": CANNOT_UNDERSTAND,
    "no_meta_group_length.dcm": CANNOT_UNDERSTAND,
    "priv_SQ.dcm": CANNOT_UNDERSTAND,
    "reportsi.dcm": SUCCESS,
    "reportsi_with_empty_number_tags.dcm": SUCCESS,
    "rtplan_truncated.dcm": CANNOT_UNDERSTAND,
    "test-SR.dcm": SUCCESS,
    "zipMR.gz": CANNOT_UNDERSTAND,
}
# What becomes of the accepted ones that are no `OTHER_OBJECT`.
OUTCOMES = {
    "JPEG2000-embedded-sequence-delimiter.dcm": (
        "skipped",
        "not a modality of projection radiography (modality NM)",
    ),
    "SC_rgb_small_odd.dcm": ("skipped", "not a modality of projection radiography (modality OT)"),
    "cr_chest_no_pixels.dcm": ("skipped", "no pixel data"),
    "cxr_966_bad_j2k_marker.dcm": ("failed", f"transfer syntax {JPEG_2000}: RuntimeError while decoding"),
}


@dataclass(frozen=True)
class Stranger:
    """A hostile file as it goes on the wire."""

    sop_class: str
    sop_instance: str
    syntax: str
    study: str
    data_set: bytes
    personal: frozenset[str]  # names and identifiers in it


@dataclass
class House:
    node: Node
    pacs_folder: Path
    pids: dict[str, int]
    personal: set[str] = field(default_factory=set)

    def send_film(self, name: str) -> str:
        """A good film; returns its study."""
        uids = {f"{level}InstanceUID": str(derive_uid("hostile", name, level)) for level in ("Study", "Series", "SOP")}
        done = storescu(self.node.port, write_dx(self.node.folder / f"{name}.dcm", **uids))
        assert done.returncode == 0, done.stderr
        return uids["StudyInstanceUID"]

    def check_alive(self, name: str) -> None:
        """The same processes still draft a film."""
        study = self.send_film(name)
        sessions = self.node.sessions()
        wait_until(lambda: self.node.statuses(sessions)[study].where == "done", 60, "a good film is drafted")
        assert self.node.role_pids() == self.pids
        assert study in {str(dcmread(file).StudyInstanceUID) for file in self.pacs_folder.glob("*.dcm")}

    def memory_mb(self) -> float:
        """RSS of the scp role."""
        status = Path(f"/proc/{self.pids['scp']}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def store(self, sop_class: str, sop_instance: str, data_set: bytes | None, *, syntax: str = EXPLICIT) -> int | str:
        """The answer to a C-STORE, or why there was none."""
        with Wire(self.node.port) as wire:
            if wire.associate((sop_class, syntax)) != [0]:
                return NO_CONTEXT
            return wire.store(sop_class, sop_instance, data_set)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, module_backend: str) -> Iterator[House]:
    require("storescu")
    folder = tmp_path_factory.mktemp("hostile")
    with LoopbackPacs(folder / "pacs") as pacs, LoopbackRis(folder / "ris") as ris:
        node = Node(folder / "node", module_backend + _settings(tiny_model, pacs.port, ris.port))
        node.start()
        try:
            roles = {"scp", "sweep", "worker", "relay", "web"}
            wait_until(lambda: set(node.role_pids()) == roles, 60, "all roles are alive")
            yield House(node, folder / "pacs", node.role_pids())
        finally:
            node.stop()


def test_every_hostile_file_is_refused_or_kept_and_skipped_and_memory_stays_flat(house: House) -> None:
    strangers = {file.name: _read_stranger(file) for file in sorted(shared_data("hostile").iterdir())}
    house.personal |= {word for each in strangers.values() for word in each.personal}
    answers = {name: _send(house, each) for name, each in strangers.items()}
    assert answers == ANSWERS
    accepted = {name: strangers[name].study for name, answer in ANSWERS.items() if answer == SUCCESS}
    statuses = house.node.wait_settled(len(set(accepted.values())))
    found = {name: (statuses[study].where, statuses[study].why) for name, study in accepted.items()}
    assert found == {name: OUTCOMES.get(name, ("skipped", OTHER_OBJECT)) for name in accepted}
    memory_mb = [house.memory_mb()]
    for _ in range(PASSES - 1):
        assert {name: _send(house, each) for name, each in strangers.items()} == ANSWERS
        memory_mb.append(house.memory_mb())
    print("scp, MB after each pass:", *(f"{each:.0f}" for each in memory_mb))
    assert memory_mb[-1] <= memory_mb[SETTLED - 1] + GROWTH_MB
    house.check_alive("after the files")


def test_dcmtk_sends_the_same_files_and_the_node_lives(house: House) -> None:
    """Many of them storescu cannot read, or gives up on; what it sends is here already or refused."""
    before = set(house.node.statuses(house.node.sessions()))
    files = [file for file in sorted(shared_data("hostile").iterdir()) if file.read_bytes()[128:132] == b"DICM"]
    codes = {file.name: storescu(house.node.port, file).returncode for file in files}
    print(f"storescu succeeded with {sorted(name for name, code in codes.items() if code == 0)}")
    assert not [name for name, code in codes.items() if code == 0 and ANSWERS[name] != SUCCESS]
    house.node.wait_settled(len(before))
    assert set(house.node.statuses(house.node.sessions())) == before
    house.check_alive("after DCMTK")


def test_a_data_set_that_is_not_what_the_command_says_is_refused(house: House) -> None:
    uid = str(derive_uid("hostile", "announced"))
    data_set = _data_set(SOPInstanceUID=uid)
    assert house.store(DX, str(derive_uid("hostile", "another")), data_set) == DOES_NOT_MATCH
    assert house.store(CT_IMAGE, uid, data_set) == DOES_NOT_MATCH
    house.check_alive("after a mismatch")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, JPEG_2000])
def test_noise_is_refused_in_every_transfer_syntax(house: House, syntax: str) -> None:
    uid = str(derive_uid("hostile", "noise"))
    noise = (None, b"", b"\0", bytes(4096), b"\xff" * 4096, b"\2" + os.urandom(100_000))
    answers = [house.store(DX, uid, data_set, syntax=syntax) for data_set in noise]
    assert answers == [CANNOT_UNDERSTAND] * len(noise)
    assert house.node.role_pids() == house.pids


def test_a_missing_or_wrong_identifier_is_refused(house: House) -> None:
    uid = str(derive_uid("hostile", "identifiers"))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        for value in (None, "", "../../etc/passwd", "1." * 40 + "1"):
            data_set = _data_set(SOPInstanceUID=uid, **{keyword: value})
            assert house.store(DX, uid, data_set) == DOES_NOT_MATCH
    assert house.store(DX, "../../etc/passwd", _data_set(SOPInstanceUID="../../etc/passwd")) == CANNOT_UNDERSTAND


def test_another_service_than_storage_is_not_negotiated(house: House) -> None:
    assert house.store(STUDY_ROOT_FIND, "1.2.3", b"") == NO_CONTEXT


def test_too_many_presentation_contexts_do_no_harm(house: House) -> None:
    """128 are legal (PS3.8 9.3.2.2); with 200, identifiers come twice."""
    with Wire(house.node.port) as wire:
        assert wire.associate(*[(DX, f"{EXPLICIT}.{number}") for number in range(128)]) == [0] * 128
    with Wire(house.node.port) as wire:
        try:
            print(len(wire.associate(*[(DX, f"{EXPLICIT}.{number}") for number in range(200)])))
        except Refused as refused:
            print(refused)
    house.check_alive("after many contexts")


def test_what_is_no_dicom_is_hung_up_on(house: House) -> None:
    port, uid = house.node.port, str(derive_uid("hostile", "broken off"))
    request = association_request((DX, EXPLICIT))
    for talk in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),  # a TLS ClientHello
        os.urandom(5000),
        fragment(store_command(DX, uid, has_data_set=False), is_command=True),  # before any association
        b"\x01\x00\xff\xff\xff\xff" + bytes(1000),  # says it is 4 GB long
        request[: len(request) // 2],
    ):
        with Wire(port) as wire:
            wire.socket.sendall(talk)
    with Wire(port) as wire:  # a reset in the middle of an object
        assert wire.associate((DX, EXPLICIT)) == [0]
        wire.socket.sendall(fragment(store_command(DX, uid, has_data_set=True), is_command=True))
        wire.send_data_set(_data_set(SOPInstanceUID=uid), is_whole=False)
        wire.reset()
    house.check_alive("after noise")
    assert not unfinished_files(house.node.folder / "data" / "instances")


def test_silent_clients_hold_up_nobody(house: House) -> None:
    with ExitStack() as stack:
        for _ in range(SILENT_CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", house.node.port)))
        house.check_alive("beside silent clients")


def test_the_log_says_nothing_of_patients_and_knows_no_surprise(house: House) -> None:
    """After all of the above."""
    log = house.node.log.read_text(encoding="utf-8")
    assert not [word for word in ("uncaught_exception", "Traceback", "C001", "CANARY") if word in log]
    assert not [word for word in house.personal if word in log]


def _send(house: House, stranger: Stranger) -> int | str:
    return house.store(stranger.sop_class, stranger.sop_instance, stranger.data_set, syntax=stranger.syntax)


def _read_stranger(file: Path) -> Stranger:
    """The bytes behind the file meta information, and what they are: as the file says, or guessed."""
    content = file.read_bytes()
    ds = dcmread(file, force=True, stop_before_pixels=True)
    guess = BIG_ENDIAN if "BigEnd" in file.name else EXPLICIT

    def read(keyword: str, otherwise: str) -> str:
        element = ds.get_item(keyword)
        value = element.value if element is not None else b""
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
        return text.strip(" \0") or otherwise

    return Stranger(
        sop_class=read("SOPClassUID", str(ds.file_meta.get("MediaStorageSOPClassUID", DX)) or DX),
        sop_instance=read("SOPInstanceUID", str(ds.file_meta.get("MediaStorageSOPInstanceUID", "2.25.7")) or "2.25.7"),
        syntax=str(ds.file_meta.get("TransferSyntaxUID") or guess),
        study=read("StudyInstanceUID", ""),
        data_set=content[_meta_end(content) :],
        personal=frozenset(
            word for each in ("PatientName", "PatientID", "AccessionNumber") if len(word := read(each, "")) > 4
        ),
    )


def _meta_end(content: bytes) -> int:
    """Where group 0002 ends (PS3.10 7.1); its own length element may be missing or wrong."""
    if content[128:132] != b"DICM":
        return 0
    at = 132
    while content[at : at + 2] == b"\2\0":
        is_long = content[at + 4 : at + 6] in (b"OB", b"UN")
        length = content[at + 8 : at + 12] if is_long else content[at + 6 : at + 8]
        at += (12 if is_long else 8) + int.from_bytes(length, "little")
    return at


def _data_set(**elements: str | None) -> bytes:
    """A good film's data set with these elements changed, Explicit VR Little Endian."""
    part10 = dx_bytes(**elements)
    return part10[_meta_end(part10) :]


def _settings(tiny_model: Path, pacs_port: int, ris_port: int) -> str:
    return f"""
model_dir = "{tiny_model}"
idle_timeout_s = 0.3
[[pacs]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
"""


def test_a_deflate_bomb_is_refused(house: House) -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1024 * 1024)) for _ in range(300)) + deflater.flush()
    assert house.store(DX, str(derive_uid("hostile", "bomb")), bomb, syntax=DEFLATED) == CANNOT_UNDERSTAND
