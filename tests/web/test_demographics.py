"""What an image says of its patient, for people."""

from pathlib import Path

import pytest
from doubles import FrozenClock
from films import write_dx
from rows import add_study, all_of, receive

from dicom_node.database import Sessions
from dicom_node.demographics import fold, note_name, note_names, read_demographics, shown_name
from dicom_node.errors import InvalidHeader, StorageAway
from dicom_node.models import Study
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore
from dicom_node.uids import derive_uid


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("CANARY^PHI", "CANARY, PHI"),
        ("CANARY^PHI^Q^Dr^PhD", "CANARY, PHI Q Dr PhD"),
        ("CANARY", "CANARY"),
        ("^PHI", "PHI"),
        ("", ""),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田, 太郎 · やまだ, たろう)"),
        ("=山田^太郎", "山田, 太郎"),
    ],
)
def test_a_name_is_shown_as_people_write_it(stored: str, shown: str) -> None:
    assert shown_name(stored) == shown


def test_a_name_is_found_whatever_its_capitals_and_carets() -> None:
    assert fold("MÜLLER^Anna Maria=山田") == "müller anna maria 山田"
    assert fold(" Müller,  anna") == "müller anna"


def test_a_header_is_read_in_its_character_set(tmp_path: Path) -> None:
    elements = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "CANARY^Jürgen", "StudyDescription": "Thorax pa"}
    found = read_demographics(write_dx(tmp_path / "film.dcm", **elements))
    assert (found.patient_name, found.patient_id, found.birth_date, found.description) == (
        "CANARY^Jürgen",
        "CANARY-ID",
        "19700101",
        "Thorax pa",
    )
    assert "CANARY" not in repr(found)


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(b"nothing of DICOM")
    with pytest.raises(InvalidHeader, match="header cannot be parsed"):
        read_demographics(tmp_path / "film.dcm")


def test_names_are_noted_once_for_every_study(sessions: Sessions, tmp_path: Path) -> None:
    store = InstanceStore(tmp_path / "instances")
    receiver = Receiver(store, sessions, FrozenClock())
    with sessions.begin() as session:
        receive(session, store)
        other = receive(session, store, StudyInstanceUID=derive_uid("films", "gone"), SOPInstanceUID="1.2.3")
        (store.root / other.path).unlink()
        add_study(session)
    assert note_names(receiver.sessions, store) is False
    assert [each.patient_name for each in all_of(sessions, Study)] == ["CANARY^PHI", "", ""]
    assert [each.patient_name_folded for each in all_of(sessions, Study)] == ["canary phi", "", ""]


def test_a_name_that_was_remembered_meanwhile_stays(sqlite_sessions: Sessions, tmp_path: Path) -> None:
    store = Remembering(tmp_path / "instances", sqlite_sessions)
    with sqlite_sessions.begin() as session:
        receive(session, store)
    note_names(sqlite_sessions, store)
    assert [each.patient_name for each in all_of(sqlite_sessions, Study)] == ["CANARY^Drafted"]


class Remembering(InstanceStore):
    """A store of whose study a draft is made in the moment when a file is read."""

    def __init__(self, root: Path, sessions: Sessions) -> None:
        super().__init__(root)
        self._sessions = sessions

    def open(self, path: str) -> Path:
        with self._sessions.begin() as session:
            note_name(session.get_one(Study, 1), "CANARY^Drafted")
        return super().open(path)


def test_a_folder_that_is_away_is_waited_for(sqlite_sessions: Sessions, tmp_path: Path) -> None:
    store = InstanceStore(tmp_path / "instances")
    with sqlite_sessions.begin() as session:
        receive(session, store)
    store.root.rename(tmp_path / "away")
    with pytest.raises(StorageAway):
        note_names(sqlite_sessions, store)
    (tmp_path / "away").rename(store.root)
    note_names(sqlite_sessions, store)
    assert [each.patient_name for each in all_of(sqlite_sessions, Study)] == ["CANARY^PHI"]
