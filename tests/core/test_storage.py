"""When a file is safe, and what is done when it cannot be."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import StorageFull
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
    assert not store.open(NAME).exists()


@pytest.mark.parametrize("step", ["fsync", "rename"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fails_is_full_and_leaves_nothing(
    step: str, code: int, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "rename", fail)))
    with pytest.raises(StorageFull, match=os.strerror(code)):
        store.put(CONTENT, SHA256)
    assert list(store.open(SHA256[:2]).iterdir()) == []


def test_files_without_a_row_are_found_when_they_are_old(store: InstanceStore) -> None:
    registered = store.put(b"registered", digest(b"registered")).path
    orphan = store.put(b"orphan", digest(b"orphan")).path
    unfinished = "00/torn.1-2.part"
    store.open(unfinished).write_bytes(b"to")
    for path in (registered, orphan, unfinished):
        os.utime(store.open(path), (1000, 1000))
    store.put(b"young", digest(b"young"))
    assert store.unregistered(frozenset({registered}), older_than=2000) == sorted([orphan, unfinished])


def test_deleting_what_is_gone_is_fine(store: InstanceStore) -> None:
    store.put(CONTENT, SHA256)
    store.delete(NAME)
    store.delete(NAME)
    assert not store.open(NAME).exists()
