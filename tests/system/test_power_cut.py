"""The promise under a power cut: what was answered 0x0000 is there, byte for byte, though what was not synced is lost.

CUTS=500 makes it long: so many times the receiver and its children are killed; each time its journal gives more moments
at which the power might have failed. That it proves something the same journals show, with fsync taken for nothing.
"""

import os
import random
import shutil
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from objects_kept import SELECT, Found, found, incomplete, lost
from power_cut import Disk, File, Folder, Record, build_shim, read_journal, watched
from scp_role import Role
from senders import Acknowledged, Senders
from sqlalchemy import Engine, create_engine, text

from dicom_node.config import Settings

pytestmark = [pytest.mark.system, pytest.mark.kill, pytest.mark.timeout(7200)]

CUTS = int(os.environ.get("CUTS", "2"))
MOMENTS = 9  # of each journal, besides its end
CUTS_OF_ONE_DISK = 3  # then a new one, because its beginning is a moment too
_LONGEST_LOAD_S = 0.6
_FSYNC_IGNORED: dict[str, tuple[type, ...]] = {"of files": (File,), "of folders": (Folder,), "of all": (File, Folder)}


@dataclass
class Site:
    """A receiver, its senders, and its disks, each what the last power cut left."""

    folder: Path
    template: Path  # the embedded database, empty
    database: Engine | None = None  # or one on another machine, whose power does not fail
    chance: random.Random = field(default_factory=lambda: random.Random(20_261_126))
    kept: list[Acknowledged] = field(default_factory=list)  # before the last cut
    cuts: int = 0
    moments: int = 0
    acknowledged: int = 0
    lost_unsynced: Counter[str] = field(default_factory=Counter)  # where fsync is taken for nothing

    def __post_init__(self) -> None:
        self.shim, self.disk = build_shim(self.folder), self.folder
        self.settings: dict[str, object] = {"min_free_bytes": 0}
        if self.database is not None:
            self.settings["database_url"] = self.database.url.render_as_string(hide_password=False)
        self.scp = Role(self.folder / "scp.log", self.settings)
        self.senders = Senders(self.scp.port)

    @property
    def journal(self) -> Path:
        return self.folder / f"journal-{self.cuts}"

    def renew_disk(self) -> None:
        self.kept, self.senders.series = [], self.cuts
        self.disk = self.folder / f"new-disk-{self.cuts}"
        self.disk.mkdir()
        if self.database is None:
            shutil.copyfile(self.template, self.disk / "node.sqlite")

    def start(self) -> None:
        self.settings["data_dir"] = self.disk
        self.scp.start(watched(self.shim, self.disk, self.journal))

    def cut_power(self) -> None:
        """Run under load, and kill; all that was acknowledged must be on what is left of the disk, at many moments."""
        disk = Disk(self.disk)
        deaf = {name: Disk(self.disk, is_deaf_to=kinds) for name, kinds in _FSYNC_IGNORED.items()}
        self._run()
        records = list(read_journal(self.journal.read_bytes()))
        self._check_moments(disk, records)
        for name, each in deaf.items():
            each.follow(records)
            self.lost_unsynced[name] += self._count_lost(each, records[-1].end)
        left = self._left_of(disk, self.cuts)
        assert self._lost(left, records[-1].end) == []
        assert incomplete(left / "instances", self._rows(left)) == []
        self._go_on(disk)

    def _run(self) -> None:
        self.senders.acknowledged.clear()
        self.senders.mark = lambda: self.journal.stat().st_size
        self.start()
        self.senders.receive(1)
        threading.Event().wait(self.chance.uniform(0, _LONGEST_LOAD_S))
        self.scp.end(signal.SIGKILL)
        self.senders.pause()

    def _check_moments(self, disk: Disk, records: list[Record]) -> None:
        done = 0
        for moment in (*sorted(self.chance.randrange(records[-1].end) for _ in range(MOMENTS)), records[-1].end):
            disk.follow(each for each in records if done < each.end <= moment)
            assert self._lost(self._left_of(disk, moment), moment) == []
            done = moment
        self.moments += MOMENTS + 1

    def _go_on(self, disk: Disk) -> None:
        self.kept += [replace(each, mark=0) for each in self.senders.acknowledged]
        self.acknowledged += len(self.senders.acknowledged)
        shutil.rmtree(self.disk)
        self.journal.unlink()
        self.disk = self.folder / f"disk-{self.cuts}"
        disk.cut(self.disk, _chance(self.cuts))
        self.cuts += 1

    def _left_of(self, disk: Disk, number: int | None) -> Path:
        """What a cut leaves for us to look at."""
        left = self.folder / "left"
        shutil.rmtree(left, ignore_errors=True)
        disk.cut(left, _chance(number))
        return left

    def _lost(self, data: Path, until: int) -> list[str]:
        due = [*self.kept, *(each for each in self.senders.acknowledged if each.mark <= until)]
        return lost(data / "instances", self._rows(data), due)

    def _count_lost(self, deaf: Disk, until: int) -> int:
        try:
            return len(self._lost(self._left_of(deaf, None), until))
        except sqlite3.DatabaseError:  # not even the database is whole: an older log beside newer pages
            return len(self.kept) + len(self.senders.acknowledged)

    def _rows(self, data: Path) -> Found:
        if self.database is not None:
            with self.database.connect() as server:
                rows = found(tuple(each) for each in server.execute(text(SELECT)))
        elif (data / "node.sqlite").exists():
            with closing(sqlite3.connect(data / "node.sqlite")) as connection:
                rows = found(connection.execute(SELECT))
        else:
            rows = {}
        return {uid: row for uid, row in rows.items() if uid.startswith(self.senders.root)}  # of this disk


def _chance(number: int | None) -> random.Random | None:
    """Every other cut is the worst: nothing is left of what was not synced. The others leave some of it."""
    return random.Random(number) if number is not None and number % 2 else None


@pytest.fixture(params=["embedded", "elsewhere"])
def site(request: pytest.FixtureRequest, tmp_path: Path, settings: Settings) -> Iterator[Site]:
    """The database beside the objects, and on a machine whose power does not fail."""
    request.getfixturevalue("sqlite_engine")  # lays the empty database in the settings' folder
    template = settings.data_dir / "node.sqlite"
    if request.param == "embedded":
        yield Site(tmp_path, template)
    else:
        engine = create_engine(request.getfixturevalue("postgres_url"))
        yield Site(tmp_path, template, engine)
        engine.dispose()


def test_what_was_acknowledged_survives_every_power_cut(site: Site) -> None:
    with site.senders:
        try:
            for number in range(CUTS):
                if number % CUTS_OF_ONE_DISK == 0:
                    site.renew_disk()
                site.cut_power()
        finally:
            site.scp.end(signal.SIGKILL)
    ignored = ", ".join(f"{count} with fsync {name} ignored" for name, count in site.lost_unsynced.items())
    print(f"{site.cuts} kills, {site.moments} moments, {site.acknowledged} acknowledged, 0 lost; {ignored}")
    assert all(site.lost_unsynced.values()), "with fsync ignored nothing is lost either: this test proves nothing"


def test_the_journal_tells_all_that_is_on_the_disk(site: Site) -> None:
    """Otherwise a write that the shim does not know would be taken for lost, or its loss be overlooked."""
    site.renew_disk()
    disk = Disk(site.disk)
    site.start()
    with site.senders:
        site.senders.receive(20)
        site.senders.pause()
    site.scp.end()
    disk.follow(read_journal(site.journal.read_bytes()))
    files = [path for path in site.disk.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    assert disk.now() == {str(path.relative_to(site.disk)): path.read_bytes() for path in files}
