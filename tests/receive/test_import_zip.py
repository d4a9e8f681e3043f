"""What is imported from a ZIP, and what a hostile one is refused for."""

import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from doubles import FrozenClock
from films import dx_bytes
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydicom.uid import (
    ImplicitVRLittleEndian,
)
from stored_files import whole_files
from stow_peer import data_set_of
from test_import import IMPORTED, film, imported, zip_of

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import InvalidHeader, Permanent
from dicom_node.receive.importing import Fate
from dicom_node.receive.intake import Receiver
from dicom_node.receive.recognition import HEAD_BYTES, NoObject, Recognised, recognise
from dicom_node.storage import InstanceStore


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


# ZIP


def test_a_member_without_a_name_is_a_file_like_others(receiver: Receiver, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "films.zip", [("1", film("one")), ("2", film("two"))])
    path.write_bytes(without_name(path.read_bytes(), b"2"))
    assert imported(receiver, path) == {"1": IMPORTED, "(a member without a name)": IMPORTED}


def without_name(archive: bytes, name: bytes) -> bytes:
    """The archive with the name of a member taken away, here and in its directory (application note 4.3.7, 4.3.12)."""
    entry = archive.rindex(b"PK\1\2")
    local = struct.unpack_from("<I", archive, entry + 42)[0]
    damaged = bytearray(archive)
    for at, length_at, name_at in ((entry, 28, 46), (local, 26, 30)):
        struct.pack_into("<HH", damaged, at + length_at, 0, len(name))  # what was the name is an extra field
        assert damaged[at + name_at : at + name_at + len(name)] == name
    return bytes(damaged)


def test_names_in_a_zip_lead_nowhere(receiver: Receiver, tmp_path: Path) -> None:
    names = ["../../evil.dcm", "/etc/evil.dcm", "a/" * 300 + "film.dcm"]
    path = zip_of(tmp_path / "films.zip", [(name, film(name)) for name in names])
    before = {*tmp_path.rglob("*")}
    assert set(imported(receiver, path).values()) == {IMPORTED}
    outside = {each for each in {*tmp_path.rglob("*")} - before if receiver.store.root not in each.parents}
    assert {each.name for each in outside} <= {"node.sqlite", "node.sqlite-wal", "node.sqlite-shm"}
    assert not Path("/etc/evil.dcm").exists()
    assert len(whole_files(receiver.store.root)) == 3


def test_a_member_that_expands_beyond_reason_is_not_expanded(receiver: Receiver, tmp_path: Path) -> None:
    bomb = dx_bytes() + bytes(64 * 1024**2)
    path = zip_of(tmp_path / "bomb.zip", [("bomb", bomb), ("film", film("beside"))])
    words = "expands to more than 200 times its size in the ZIP"
    assert imported(receiver, path) == {"bomb": (Fate.REFUSED, words), "film": IMPORTED}


def test_a_member_longer_than_any_object_is_not_expanded(receiver: Receiver, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "films.zip", [("film", dx_bytes())])
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("film").file_size
    # PKWARE application note 4.5.3: the size in a ZIP64 extra field
    content = path.read_bytes()
    central = content.rindex(b"PK\1\2")
    entry = bytearray(content[central : central + 46])
    assert struct.unpack_from("<I", entry, 24)[0] == size
    extra = struct.pack("<HHQ", 1, 8, 5 * 1024**3)
    struct.pack_into("<I", entry, 24, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    end = bytearray(content[content.rindex(b"PK\5\6") :])
    struct.pack_into("<I", end, 12, len(entry) + 4 + len(extra))
    path.write_bytes(content[:central] + entry + b"film" + extra + end)
    words = f"expands to {5 * 1024**3} bytes, expected at most {4 * 1024**3}"
    assert imported(receiver, path) == {"film": (Fate.REFUSED, words)}


def test_a_member_that_lies_about_its_size_is_read_no_further(receiver: Receiver, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "liar.zip", [("film", dx_bytes() + bytes(8 * 1024**2))])
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\1\2") + 24, 5_000)  # PKWARE application note 4.3.12
    path.write_bytes(content)
    words = "cannot be read: damaged in the ZIP (BadZipFile)"
    assert imported(receiver, path) == {"film": (Fate.REFUSED, words)}
    assert whole_files(receiver.store.root) == []


def test_members_that_share_their_bytes_are_refused(receiver: Receiver, tmp_path: Path) -> None:
    """Fifield's bomb: many entries of the directory lead to one member."""
    path = zip_of(tmp_path / "shared.zip", [("film", dx_bytes())])
    content = path.read_bytes()
    central, end = content.rindex(b"PK\1\2"), content.rindex(b"PK\5\6")
    entry, tail = content[central:end], bytearray(content[end:])
    struct.pack_into("<HHI", tail, 8, 50, 50, 50 * len(entry))
    path.write_bytes(content[:central] + entry * 50 + tail)
    with pytest.raises(Permanent, match="its members overlap"):
        imported(receiver, path)


@pytest.mark.parametrize(("method", "number"), [(zipfile.ZIP_BZIP2, 12), (zipfile.ZIP_LZMA, 14)])
def test_a_compression_without_bound_is_refused(method: int, number: int, receiver: Receiver, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "films.zip", [("film", dx_bytes())], method)
    words = f"compressed in the ZIP by method {number}, expected deflate"
    assert imported(receiver, path) == {"film": (Fate.REFUSED, words)}


def test_an_encrypted_member_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "films.zip", [("film", dx_bytes())])
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # PKWARE application note 4.4.4
    path.write_bytes(content)
    assert imported(receiver, path) == {"film": (Fate.REFUSED, "encrypted in the ZIP")}


@seed(20261126)
@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 2**31), st.binary(min_size=1, max_size=4)), min_size=1, max_size=8))
def test_no_damage_to_a_zip_is_a_crash(changes: list[tuple[int, bytes]], receiver: Receiver, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "films.zip", [("a/film", dx_bytes()), ("ümlaut", b"text")])
    content = bytearray(path.read_bytes())
    tail = len(content) - 250  # central directory and its end, where a change matters most
    for at, piece in changes:
        start = tail + at % 250 if at % 2 else at % len(content)
        content[start : start + len(piece)] = piece
    path.write_bytes(content)
    with suppress(Permanent):
        assert all(fate in Fate for fate, _ in imported(receiver, path).values())


@seed(20261126)
@examples(max_examples=500, deadline=None)
@given(
    kind=st.sampled_from([dx_bytes(), dx_bytes()[132:], data_set_of(dx_bytes(transfer_syntax=ImplicitVRLittleEndian))]),
    changes=st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6),
    length=st.integers(0, HEAD_BYTES),
)
def test_no_beginning_of_a_file_is_a_crash(kind: bytes, changes: list[tuple[int, bytes]], length: int) -> None:
    head = bytearray(kind)
    for at, piece in changes:
        head[at : at + len(piece)] = piece
    with suppress(NoObject, InvalidHeader):
        assert isinstance(recognise(bytes(head[:length])), Recognised)
