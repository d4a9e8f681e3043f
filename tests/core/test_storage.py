"""When a file is safe, and what is done when it cannot be."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import InvalidHeader, StorageAway, StorageFull
from dicom_node.storage import InstanceStore, digest

CONTENT = b"Part 10"
SHA256 = digest(CONTENT)
NAME = f"{SHA256[:2]}/{SHA256}.dcm"


@pytest.fixture
def store(tmp_path: Path) -> InstanceStore:
    return InstanceStore(tmp_path / "instances")


def test_a_file_is_kept_byte_for_byte_under_the_hash_of_its_data_set(store: InstanceStore) -> None:
    stored = store.put(CONTENT, SHA256)
    assert (stored.path, stored.sha256) == (NAME, SHA256)
    assert store.open(stored.path).read_bytes() == CONTENT


def test_the_same_again_is_the_same_file(store: InstanceStore) -> None:
    assert store.put(CONTENT, SHA256) == store.put(CONTENT, SHA256)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the disk is asked, in order, by the last part of the name of what it is asked for."""
    seen: list[str] = []

    def record(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def recording(first: Any, *rest: Any) -> Any:
            path = Path(os.readlink(f"/proc/self/fd/{first}")) if isinstance(first, int) else Path(first)
            size = f" {path.stat().st_size}" if path.is_file() else ""
            seen.append(f"{what} {path.suffix or 'folder'}{size}")
            return real(first, *rest)

        return recording

    monkeypatch.setattr(os, "fsync", record("fsync", os.fsync))
    monkeypatch.setattr(Path, "rename", record("rename", Path.rename))
    return seen


def test_a_file_is_durable_before_it_has_its_name_and_its_name_before_put_returns(
    store: InstanceStore, steps: list[str]
) -> None:
    steps.clear()
    store.put(CONTENT, SHA256)
    assert steps == [f"fsync .part {len(CONTENT)}", f"rename .part {len(CONTENT)}", "fsync folder"]


def test_a_disk_below_its_reserve_is_full(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    store = InstanceStore(tmp_path / "instances", min_free_bytes=2 * free)
    with pytest.raises(StorageFull, match=rf"\d+ bytes free, {len(CONTENT)} wanted, {2 * free} kept in reserve"):
        store.put(CONTENT, SHA256)
    assert not list(store.paths())


@pytest.mark.parametrize("step", ["fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fails_is_full_and_leaves_nothing(
    step: str, code: int, store: InstanceStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "rename", fail)))
    with pytest.raises(StorageFull, match=os.strerror(code)):
        store.put(CONTENT, SHA256)
    assert list((tmp_path / "instances" / SHA256[:2]).iterdir()) == []


def test_only_files_that_were_cut_short_are_discarded_when_old(store: InstanceStore) -> None:
    whole = store.put(b"whole", digest(b"whole")).path
    root = store.open(whole).parents[1]
    old, young = root / "00/torn.1-2.part", root / "00/torn.3-4.part"
    for path in (old, young):
        path.write_bytes(b"to")
    for path in (old, store.open(whole)):
        os.utime(path, (1000, 1000))
    assert store.discard_unfinished(older_than=2000) == 1
    assert (old.exists(), young.exists(), list(store.paths())) == (False, True, [whole])


def test_a_file_that_is_gone_is_told_from_a_folder_that_is_away(store: InstanceStore) -> None:
    file = store.open(store.put(CONTENT, SHA256).path)
    file.unlink()
    with pytest.raises(InvalidHeader, match="file is gone"):
        store.open(NAME)
    file.parent.rmdir()
    with pytest.raises(StorageAway):
        store.open(NAME)
