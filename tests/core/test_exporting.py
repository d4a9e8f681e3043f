"""`dicom-node export` beside a node that removes images, and on a disk that fills: all of it, or nothing."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from doubles import NOON
from retention_house import House
from rows import only
from sqlmodel import select

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent, StorageAway
from dicom_node.exporting import export_study
from dicom_node.flags import Flag, FlagKind, flags_to_json
from dicom_node.models import Delivery, Instance, Report
from dicom_node.product import DISCLAIMER

MEBIBYTE = 2**20


@pytest.fixture
def house(settings: Settings, sessions: Sessions) -> House:
    return House(settings, sessions)


@pytest.fixture
def sqlite_house(settings: Settings, sqlite_sessions: Sessions) -> House:
    return House(settings, sqlite_sessions)


class Meanwhile:
    """A clock by which something happens when it is first looked at: rows are read by then, files are not."""

    def __init__(self, happen: Callable[[], object]) -> None:
        self._to_happen = [happen]

    def __call__(self) -> datetime:
        while self._to_happen:
            self._to_happen.pop()()
        return NOON


def test_what_is_removed_meanwhile_is_said_to_be_removed(house: House, tmp_path: Path) -> None:
    study_id = house.add_ended()
    manifest = export_study(house.settings, house.sessions, study_id, tmp_path / "out", Meanwhile(house.go_round))
    assert (manifest.removed, manifest.missing) == (1, 0)
    assert list((tmp_path / "out" / "received").iterdir()) == []
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest.as_json()


def test_what_is_removed_and_comes_again_meanwhile_is_exported(house: House, tmp_path: Path) -> None:
    def go_and_come_again() -> None:
        house.go_round()
        house.send_again()

    study_id = house.add_ended()
    manifest = export_study(house.settings, house.sessions, study_id, tmp_path / "out", Meanwhile(go_and_come_again))
    assert (manifest.removed, manifest.missing) == (0, 0)
    stored = house.store.open(only(house.sessions, Instance).path)
    (exported,) = (tmp_path / "out" / "received").iterdir()
    assert exported.read_bytes() == stored.read_bytes()


def test_an_exported_draft_says_first_what_it_is_and_what_to_check(house: House, tmp_path: Path) -> None:
    study_id = house.add_ended()
    with house.sessions.begin() as session:
        report = session.exec(select(Report)).one()
        report.model_is_synthetic, report.withdrawn_at, report.withdrawal_reason = True, NOON, "wrong side marker"
        report.flags = flags_to_json([Flag(FlagKind.DATE, "names a date")])
    export_study(house.settings, house.sessions, study_id, tmp_path / "out", house.clock)
    lines = (tmp_path / "out" / "drafts" / f"{report.id}.txt").read_text().splitlines()
    synthetic = "SYNTHETIC TEST MODEL: nothing below is about the patient."
    above = [synthetic, DISCLAIMER, "WITHDRAWN: wrong side marker", "Check: names a date", ""]
    assert lines == [*above, report.findings]


def test_a_disk_that_fills_leaves_nothing_and_is_told_in_a_line(sqlite_house: House, tmp_path: Path) -> None:
    """No file of this process may be larger than a mebibyte; what was sent is."""
    study_id = sqlite_house.add_ended()
    with sqlite_house.sessions.begin() as session:
        session.exec(select(Delivery)).one().payload = bytes(2 * MEBIBYTE)
    done = subprocess.run(
        [sys.executable, "-m", "dicom_node", "export", str(study_id), str(tmp_path / "out")],
        env={**os.environ, "DICOM_NODE_DATA_DIR": str(sqlite_house.settings.data_dir), "COLUMNS": "300"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE, MEBIBYTE)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"dicom-node: nothing was exported to {tmp_path / 'out'}: File too large\n"
    assert sorted(each.name for each in tmp_path.glob("out*")) == []


def test_objects_that_cannot_be_read_leave_nothing_either(sqlite_house: House, tmp_path: Path) -> None:
    study_id = sqlite_house.add_ended()
    file = sqlite_house.store.open(only(sqlite_house.sessions, Instance).path)
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(StorageAway, match="instance folder cannot be read"):
        export_study(sqlite_house.settings, sqlite_house.sessions, study_id, tmp_path / "out", sqlite_house.clock)
    assert list(tmp_path.glob("out*")) == []


def test_another_export_that_is_under_way_is_left_alone(sqlite_house: House, tmp_path: Path) -> None:
    study_id = sqlite_house.add_ended()
    (tmp_path / "out.part").mkdir()
    with pytest.raises(Permanent, match="left of an export that was cut short"):
        export_study(sqlite_house.settings, sqlite_house.sessions, study_id, tmp_path / "out", sqlite_house.clock)
    assert [each.name for each in tmp_path.glob("out*")] == ["out.part"]
