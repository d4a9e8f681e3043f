"""What becomes of files: in folders, in ZIPs, on media; as they should be, as they are, and as bombs."""

import os
import subprocess
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from doubles import NOON, FrozenClock
from films import dx_bytes, make_dx, shared_data, write_dx
from foreign import require_peer
from pydicom import config, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from rows import all_of, only
from sqlmodel import select
from stored_files import unfinished_files, whole_files
from stow_peer import data_set_of

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Instance, Study
from dicom_node.receive.importing import CALLING_AE, Fate, import_files
from dicom_node.receive.intake import Receiver
from dicom_node.receive.media import opened_media
from dicom_node.receive.transfers import Transfers
from dicom_node.storage import InstanceStore
from dicom_node.uids import derive_uid

NOT_DICOM = Fate.SKIPPED, "not DICOM"
NO_UIDS = Fate.REFUSED, "no SOP Class UID and SOP Instance UID at the beginning of the data set"
NOT_THERE = Fate.REFUSED, "listed in the DICOMDIR, and not there"
OUTSIDE = Fate.REFUSED, "lies outside the DICOMDIR's folder"
IMPORTED, ALREADY_THERE = (Fate.IMPORTED, ""), (Fate.ALREADY_THERE, "")
DICOMDIR = Fate.SKIPPED, "a DICOMDIR"
NO_SYNTAX = Fate.REFUSED, "no transfer syntax is stated, and the data set does not begin with group 0008"
NO_VR = Fate.REFUSED, "(0002,0000) of the file meta information has no VR"
CUT = Fate.REFUSED, "(0002,0003) of the file meta information goes beyond byte 180"
NOT_UNDERSTOOD = Fate.REFUSED, "its data set is cut short or cannot be understood"

# What becomes of the hostile files that are not imported.
HOSTILE = {
    "DICOMDIR": DICOMDIR,
    "DICOMDIR-empty.dcm": DICOMDIR,
    "DICOMDIR-nooffset": DICOMDIR,
    "DICOMDIR-nopatient": DICOMDIR,
    "MR_truncated.dcm": NOT_UNDERSTOOD,
    "UN_sequence.dcm": NO_UIDS,
    "bad_sequence.dcm": NOT_UNDERSTOOD,
    "meta_missing_tsyntax.dcm": NO_SYNTAX,
    "nested_priv_SQ.dcm": NO_UIDS,
    "no_meta.dcm": NOT_DICOM,
    "no_meta_group_length.dcm": NO_UIDS,
    "priv_SQ.dcm": NO_UIDS,
    "rtplan_truncated.dcm": NOT_UNDERSTOOD,
    "zipMR.gz": NOT_DICOM,
}


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


def imported(receiver: Receiver, path: Path) -> dict[str, tuple[Fate, str]]:
    """What became of each file, by its name."""
    with opened_media(path) as files:
        return {each.name: (each.fate, each.reason) for each in import_files(receiver, files, Transfers(print))}


def film(name: str, **elements: object) -> bytes:
    return dx_bytes(SOPInstanceUID=str(derive_uid("import", name)), **elements)


def zip_of(path: Path, members: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two films, one of them deeper, beside what is none."""
    root = tmp_path / "medium"
    (root / "a" / "deep er").mkdir(parents=True)
    (root / "film").write_bytes(film("one"))
    (root / "a" / "deep er" / "film.dcm").write_bytes(film("two"))
    (root / "a" / "read me.txt").write_text("no film")
    (root / "empty").touch()
    return root


def test_every_object_below_a_folder_is_imported_and_again_it_is_already_there(
    settings: Settings, sessions: Sessions, folder: Path
) -> None:
    receiver = Receiver(InstanceStore(settings.instances_dir), sessions, FrozenClock())
    others = {"a/read me.txt": NOT_DICOM, "empty": NOT_DICOM}
    assert imported(receiver, folder) == {"film": IMPORTED, "a/deep er/film.dcm": IMPORTED, **others}
    before = whole_files(receiver.store.root)
    assert imported(receiver, folder) == {"film": ALREADY_THERE, "a/deep er/film.dcm": ALREADY_THERE, **others}
    assert whole_files(receiver.store.root) == before
    instances = all_of(sessions, Instance)
    assert [each.calling_ae for each in instances] == [CALLING_AE] * 2
    kept = [data_set_of((receiver.store.root / each.path).read_bytes()) for each in instances]
    assert sorted(kept) == sorted(data_set_of(film(name)) for name in ("one", "two"))


@pytest.mark.parametrize(("state", "later_s"), [("complete", 60), ("receiving", 0)])
def test_what_is_already_there_was_wanted_now_but_keeps_no_study_open(
    state: str, later_s: float, receiver: Receiver, tmp_path: Path
) -> None:
    clock, path = FrozenClock(), write_dx(tmp_path / "film.dcm")
    receiver = replace(receiver, clock=clock)
    imported(receiver, path)
    with receiver.sessions.begin() as session:
        session.exec(select(Study)).one().state = state
    clock.forward(60)
    assert imported(receiver, path) == {"film.dcm": ALREADY_THERE}
    assert only(receiver.sessions, Study).last_received_at == NOON + timedelta(seconds=later_s)


def test_one_file_is_imported_too(receiver: Receiver, tmp_path: Path) -> None:
    assert imported(receiver, write_dx(tmp_path / "film.dcm")) == {"film.dcm": IMPORTED}


def test_other_bytes_under_the_same_uid_are_kept_beside(receiver: Receiver, tmp_path: Path) -> None:
    write_dx(tmp_path / "film.dcm")
    imported(receiver, tmp_path / "film.dcm")
    write_dx(tmp_path / "film.dcm", ViewPosition="AP")
    assert imported(receiver, tmp_path / "film.dcm") == {"film.dcm": IMPORTED}
    assert imported(receiver, tmp_path / "film.dcm") == {"film.dcm": ALREADY_THERE}
    assert [each.view for each in all_of(receiver.sessions, Instance)] == ["PA", "AP"]


def test_the_data_set_names_the_object_not_the_file_meta_information(receiver: Receiver, tmp_path: Path) -> None:
    ds = make_dx(SOPInstanceUID="1.2.3")
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.4"
    dcmwrite(tmp_path / "film.dcm", ds, enforce_file_format=False)
    assert imported(receiver, tmp_path / "film.dcm") == {"film.dcm": IMPORTED}
    instance = only(receiver.sessions, Instance)
    kept = dcmread(receiver.store.root / instance.path)
    assert instance.sop_instance_uid == "1.2.3" == kept.file_meta.MediaStorageSOPInstanceUID


def without_preamble(part10: bytes) -> bytes:
    return part10[128:]


def without_prefix(part10: bytes) -> bytes:
    return part10[132:]


@pytest.mark.parametrize("strip", [without_preamble, without_prefix, data_set_of])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_without_preamble_is_imported_where_it_leaves_no_doubt(
    syntax: str, strip: Callable[[bytes], bytes], receiver: Receiver, tmp_path: Path
) -> None:
    part10 = dx_bytes(transfer_syntax=syntax)
    (tmp_path / "film").write_bytes(strip(part10))
    assert imported(receiver, tmp_path / "film") == {"film": IMPORTED}
    instance = only(receiver.sessions, Instance)
    kept = (receiver.store.root / instance.path).read_bytes()
    assert instance.transfer_syntax_uid == syntax == dcmread(BytesIO(kept)).file_meta.TransferSyntaxUID
    assert data_set_of(kept) == data_set_of(part10)


def compressed_film() -> bytes:
    ds = make_dx()
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([b"\0" * 100])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    file = BytesIO()
    dcmwrite(file, ds)
    return file.getvalue()


def test_a_compressed_object_that_does_not_say_how_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(data_set_of(compressed_film()))
    words = "its pixel data is compressed, and no file meta information says how"
    assert imported(receiver, tmp_path / "film") == {"film": (Fate.REFUSED, words)}
    path = zip_of(tmp_path / "film.zip", [("film", data_set_of(compressed_film()))])
    assert imported(receiver, path) == {"film": (Fate.REFUSED, words)}
    (tmp_path / "film").write_bytes(compressed_film())
    assert imported(receiver, tmp_path / "film") == {"film": IMPORTED}


def test_a_deflated_object_is_imported_as_it_is(receiver: Receiver, tmp_path: Path) -> None:
    part10 = dx_bytes(transfer_syntax=DeflatedExplicitVRLittleEndian)
    (tmp_path / "film").write_bytes(part10)
    assert imported(receiver, tmp_path / "film") == {"film": IMPORTED}
    assert data_set_of((receiver.store.root / only(receiver.sessions, Instance).path).read_bytes()) == data_set_of(
        part10
    )


@pytest.mark.parametrize(
    ("content", "fate"),
    [
        (dx_bytes(StudyInstanceUID=None), (Fate.REFUSED, "it belongs to no study or no series")),
        (dx_bytes(SOPInstanceUID=None), NO_UIDS),
        (dx_bytes(SOPInstanceUID="1" * 65), NO_UIDS),
        (dx_bytes(SOPInstanceUID="CANARY^PHI"), NOT_UNDERSTOOD),
        (dx_bytes()[:132], NO_SYNTAX),
        (dx_bytes()[:180], CUT),
        (b"\0" * 128 + b"DICM" + b"\2\0\0\0\4\0\0\0", NO_VR),
        (b"\2\0nothing", NOT_DICOM),
    ],
    ids=["no study", "no UID", "long UID", "no UID but a name", "prefix only", "cut", "no VR", "another format"],
)
def test_what_cannot_be_imported_is_refused_with_a_reason(
    content: bytes, fate: tuple[Fate, str], receiver: Receiver, tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(content)
    assert imported(receiver, tmp_path / "film") == {"film": fate}
    assert all_of(receiver.sessions, Instance) == []
    assert whole_files(receiver.store.root) == []


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "zip"])
def test_hostile_files_are_imported_or_refused_and_nothing_breaks(
    is_zip: bool, receiver: Receiver, tmp_path: Path
) -> None:
    hostile = shared_data("hostile")
    files = sorted(hostile.iterdir())
    path = zip_of(tmp_path / "all.zip", [(each.name, each.read_bytes()) for each in files]) if is_zip else hostile
    expected = {each.name: HOSTILE.get(each.name, IMPORTED) for each in files}
    assert imported(receiver, path) == expected
    again = {name: ALREADY_THERE if fate == IMPORTED else fate for name, fate in expected.items()}
    assert imported(receiver, path) == again


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-nooffset", "DICOMDIR-nopatient"])
def test_a_dicomdir_without_its_files_refuses_each_of_them(name: str, receiver: Receiver) -> None:
    found = imported(receiver, shared_data("hostile", name))
    assert len(found) > 10
    assert set(found.values()) == {NOT_THERE}


def test_an_empty_dicomdir_lists_nothing(receiver: Receiver) -> None:
    assert imported(receiver, shared_data("hostile", "DICOMDIR-empty.dcm")) == {}


def test_real_films_keep_every_byte(receiver: Receiver) -> None:
    films = shared_data("cxr_dicom")
    assert set(imported(receiver, films).values()) == {IMPORTED}
    kept = {data_set_of((receiver.store.root / each.path).read_bytes()) for each in all_of(receiver.sessions, Instance)}
    assert kept == {data_set_of(each.read_bytes()) for each in films.iterdir()}


# Media


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A DICOMDIR by DCMTK with its two films."""
    root = tmp_path / "medium"
    (root / "IMAGES").mkdir(parents=True)
    for number, name in enumerate(("one", "two")):
        (root / "IMAGES" / f"IM{number}").write_bytes(
            film(name, InstanceNumber=str(number), SeriesNumber="1", PixelSpacing=None)
        )
    command = [require_peer("dcmmkdir"), "-W", "-Nxc", "+m", "+r", "+id", ".", "-Pgp"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=60)
    assert (root / "DICOMDIR").exists(), done.stderr
    return root


def test_what_a_dicomdir_lists_is_imported(receiver: Receiver, medium: Path) -> None:
    (medium / "not listed").write_bytes(film("three"))
    assert imported(receiver, medium / "DICOMDIR") == {"IMAGES/IM0": IMPORTED, "IMAGES/IM1": IMPORTED}


def test_a_medium_that_is_mounted_in_lower_case_is_read(receiver: Receiver, medium: Path) -> None:
    (medium / "IMAGES" / "IM0").rename(medium / "IMAGES" / "im0")
    (medium / "IMAGES" / "IM1").unlink()
    (medium / "IMAGES").rename(medium / "images")
    assert imported(receiver, medium / "DICOMDIR") == {"IMAGES/IM0": IMPORTED, "IMAGES/IM1": NOT_THERE}


@pytest.mark.parametrize(
    ("file_id", "fate"),
    [
        (["..", "SECRET"], OUTSIDE),
        (["..\\..\\SECRET"], OUTSIDE),
        (["/SECRET"], OUTSIDE),
        (["IMAGES", "..", "..", "SECRET"], OUTSIDE),
        (["LINK", "SECRET"], OUTSIDE),
        (["IMAGES"], NOT_THERE),
        (["PIPE"], NOT_THERE),
        (["X" * 300], (Fate.REFUSED, "cannot be read: File name too long")),
        (["A\0B"], OUTSIDE),
    ],
)
def test_a_dicomdir_never_leads_out_of_its_folder(
    file_id: list[str], fate: tuple[Fate, str], receiver: Receiver, medium: Path
) -> None:
    (medium.parent / "SECRET").write_bytes(film("secret"))
    (medium / "LINK").symlink_to(medium.parent)
    os.mkfifo(medium / "PIPE")
    ds = dcmread(medium / "DICOMDIR")
    images = [each for each in ds.DirectoryRecordSequence if "ReferencedFileID" in each]
    with config.disable_value_validation():
        images[0].ReferencedFileID = file_id
        dcmwrite(medium / "DICOMDIR", ds)
    found = imported(receiver, medium / "DICOMDIR")
    assert list(found.values()) == [fate, IMPORTED]
    assert len(all_of(receiver.sessions, Instance)) == 1


@pytest.mark.parametrize("is_undefined", [False, True])
def test_a_dicomdir_that_is_cut_short_is_refused_as_a_whole(
    is_undefined: bool, receiver: Receiver, medium: Path
) -> None:
    ds = dcmread(medium / "DICOMDIR")
    ds["DirectoryRecordSequence"].is_undefined_length = is_undefined
    dcmwrite(medium / "DICOMDIR", ds)
    content = (medium / "DICOMDIR").read_bytes()
    (medium / "DICOMDIR").write_bytes(content[:-100])
    with pytest.raises(Permanent, match="expected a DICOMDIR"):
        imported(receiver, medium / "DICOMDIR")


# The disk


def test_pipes_are_left_alone_and_dangling_links_are_told_of(receiver: Receiver, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "round").symlink_to(folder)
    (folder / "dangling").symlink_to(folder / "nothing")
    found = imported(receiver, folder)
    assert found["dangling"] == (Fate.REFUSED, "cannot be read: No such file or directory")
    assert found.keys() == {"film", "a/deep er/film.dcm", "a/read me.txt", "empty", "dangling"}


def test_a_folder_that_cannot_be_listed_is_told_of(receiver: Receiver, folder: Path) -> None:
    """Deeper than any path can name."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=at)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    found = imported(receiver, folder)
    assert [fate for name, fate in found.items() if name.startswith("dd")] == [
        (Fate.REFUSED, "cannot be read: File name too long")
    ]


def test_what_finds_no_room_is_refused_and_imported_later(settings: Settings, receiver: Receiver, folder: Path) -> None:
    receiver.store._min_free_bytes = 2**60
    words = "no room on the disk, or the database is away: import it again later"
    assert imported(receiver, folder)["film"] == (Fate.REFUSED, words)
    receiver.store._min_free_bytes = 0
    assert imported(receiver, folder)["film"] == IMPORTED
    assert unfinished_files(settings.instances_dir) == []


def test_a_path_without_anything_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="expected a folder, ZIP or DICOMDIR"), opened_media(tmp_path / "nothing"):
        pass


def test_no_name_of_a_file_is_logged(receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The guard looks for CANARY in every test's log."""
    (tmp_path / "CANARY one.dcm").write_bytes(film("one"))
    (tmp_path / "CANARY two.dcm").write_bytes(dx_bytes(StudyInstanceUID=None))
    imported(receiver, tmp_path)
    assert "object_refused" in caplog.text
