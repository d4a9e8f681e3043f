"""A disk that fills while objects come in, on purpose: a small file system of its own."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from house import require, wait_until
from objects_kept import SELECT, found, incomplete, lost
from scp_role import Role
from senders import SUCCESS, Senders
from sqlalchemy import text
from stored_files import unfinished_files
from wire import Refused, Wire

from dicom_node.config import Settings
from dicom_node.database import Sessions, migrate, open_database

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

MEGABYTE = 1_000_000
DISK_BYTES, RESERVE_BYTES, BALLAST_BYTES = 64 * MEGABYTE, 16 * MEGABYTE, 20 * MEGABYTE
OUT_OF_RESOURCES = 0xA700
REJECTED = 3  # PDU type of A-ASSOCIATE-RJ
SIZES = (30_000, 900_000, 2_000, 300_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """ext4 on a loop device, or memory where there is no such device."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk")
    require("mkfs.ext4")
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=False, capture_output=True)
    for mount in (["-o", "loop", str(image)], ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"]):
        if subprocess.run(["mount", *mount, str(folder)], check=False, capture_output=True).returncode == 0:
            break
    else:
        pytest.skip("neither a loop device nor tmpfs may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_is_refused_before_the_reserve_is_touched(small_disk: Path, tmp_path: Path) -> None:
    ballast = _ballast(small_disk)
    with _receiving(small_disk, tmp_path, RESERVE_BYTES) as (scp, senders):
        senders.be_refused(OUT_OF_RESOURCES, 5)
        least = min(_free_bytes(small_disk), *(each.mark for each in senders.acknowledged))
        assert least >= RESERVE_BYTES

        more = small_disk / "more"
        more.write_bytes(bytes(max(0, _free_bytes(small_disk) - RESERVE_BYTES) + MEGABYTE))
        senders.pause()
        with Wire(scp.port) as wire, pytest.raises(Refused, match=f"^{REJECTED}$"):
            wire.associate(("1.2.840.10008.1.1", "1.2.840.10008.1.2"))

        more.unlink()
        _recovers(senders, ballast)
    _check(small_disk, tmp_path, senders)


def test_a_disk_that_others_fill_in_the_middle_of_everything_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    """Without a reserve, and with a neighbour who takes the last byte: within a file, and within the database's own."""
    ballast = _ballast(small_disk)
    with _receiving(small_disk, tmp_path, 0) as (_, senders), (small_disk / "neighbour").open("wb") as neighbour:
        wait_until(lambda: _shortens_log(small_disk), 60, "the database's log gives its room back")
        for _ in range(12):
            senders.receive(2)
            _take_all(neighbour.fileno())
            senders.be_refused(OUT_OF_RESOURCES, 2)
            neighbour.truncate(0)
            ballast.unlink(missing_ok=True)
        _recovers(senders, ballast)
    _check(small_disk, tmp_path, senders)
    assert "OperationalError" in (tmp_path / "scp.log").read_text(encoding="utf-8"), "the database always had room"


def _shortens_log(disk: Path) -> bool:
    """So that commits need room again, of which a log that is long has enough."""
    with closing(sqlite3.connect(_settings(disk).data_dir / "node.sqlite", timeout=30)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


def _take_all(neighbour: int) -> None:
    step, taken = 4 * MEGABYTE, 0
    while step >= 4096:
        try:
            os.posix_fallocate(neighbour, taken, step)
            taken += step
        except OSError:
            step //= 4


@contextmanager
def _receiving(disk: Path, folder: Path, min_free_bytes: int) -> Iterator[tuple[Role, Senders]]:
    scp = Role(folder / "scp.log", {"data_dir": disk / "node", "min_free_bytes": min_free_bytes})
    engine = open_database(_settings(disk))
    migrate(engine)
    engine.dispose()
    scp.start()
    try:
        with Senders(scp.port, sizes=SIZES, mark=lambda: _free_bytes(disk)) as senders:
            senders.go()
            yield scp, senders
    finally:
        scp.end()


def _recovers(senders: Senders, ballast: Path) -> None:
    """Without a person at the node: somebody made room."""
    ballast.unlink(missing_ok=True)
    senders.receive(10)
    senders.pause()


def _check(disk: Path, folder: Path, senders: Senders) -> None:
    settings = _settings(disk)
    engine = open_database(settings)
    with Sessions(engine)() as session:
        rows = found(tuple(each) for each in session.connection().execute(text(SELECT)))
    engine.dispose()
    assert set(senders.statuses) == {SUCCESS, OUT_OF_RESOURCES}
    assert lost(settings.instances_dir, rows, senders.acknowledged) == []
    assert incomplete(settings.instances_dir, rows) == []
    assert unfinished_files(settings.instances_dir) == []
    log = (folder / "scp.log").read_text(encoding="utf-8")
    assert not [word for word in ("uncaught_exception", "Traceback", "C001") if word in log]


def _settings(disk: Path) -> Settings:
    return Settings(data_dir=disk / "node")


def _ballast(disk: Path) -> Path:
    """What somebody can throw away when the disk is full."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    return ballast


def _free_bytes(disk: Path) -> int:
    return shutil.disk_usage(disk).free
