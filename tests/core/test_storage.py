"""When a file is safe, and what is done when it cannot be."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from rows import put
from stored_files import unfinished_files, whole_files

from dicom_node import spare_files
from dicom_node.errors import InvalidHeader, Permanent, StorageAway, StorageFull
from dicom_node.part_file import EARLY_WRITE_BYTES, PartFile
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.part10 import file_prefix
from dicom_node.storage import InstanceStore, LookedOver, StoredFile, Unfinished

PREFIX, CONTENT = b"Part 10", b"data set"


@pytest.fixture
def store(tmp_path: Path) -> InstanceStore:
    return InstanceStore(tmp_path / "instances")


def keep(unfinished: Unfinished) -> StoredFile:
    stored = unfinished.seal()
    unfinished.keep()
    unfinished.discard()
    return stored


def kept(store: InstanceStore) -> list[str]:
    """All that is not an empty file waiting for use."""
    begun = [str(each.relative_to(store.root)) for each in unfinished_files(store.root)]
    return sorted(whole_files(store.root) + begun)


def test_a_file_is_kept_byte_for_byte(store: InstanceStore) -> None:
    stored = put(store, CONTENT)
    assert store.open(stored.path).read_bytes() == CONTENT
    assert whole_files(store.root) == [stored.path]


def test_what_precedes_the_data_set_is_kept_and_belongs_to_neither_size_nor_hash(store: InstanceStore) -> None:
    unfinished = store.begin(PREFIX)
    unfinished.write([CONTENT[:3], memoryview(CONTENT)[3:]])
    stored = keep(unfinished)
    assert store.open(stored.path).read_bytes() == PREFIX + CONTENT
    assert (stored.size_bytes, store.sha256(stored)) == (len(CONTENT), sha256(CONTENT).hexdigest())


def test_countless_and_large_pieces_come_in_their_order(store: InstanceStore) -> None:
    content = os.urandom(EARLY_WRITE_BYTES + 70_000)
    unfinished = store.begin(b"")
    for at in range(0, len(content), 1_000_000):
        part = memoryview(content)[at : at + 1_000_000]
        unfinished.write([part[:100_000], *(part[each : each + 300] for each in range(100_000, len(part), 300))])
    stored = keep(unfinished)
    assert store.sha256(stored) == sha256(content).hexdigest()
    assert store.open(stored.path).read_bytes() == content


def test_a_disk_that_takes_only_some_of_a_write_gets_the_rest(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.writev
    monkeypatch.setattr(os, "writev", lambda file, pieces: whole(file, [memoryview(pieces[0])[:3]]))
    assert store.open(put(store, CONTENT).path).read_bytes() == CONTENT


def test_no_name_is_used_twice(store: InstanceStore) -> None:
    paths = {put(each, CONTENT).path for each in (store, store, InstanceStore(store.root))}
    assert len(paths) == 3


def test_files_that_come_together_lie_together(store: InstanceStore) -> None:
    assert {Path(put(store, CONTENT).path).parent for _ in range(64)} == {Path("00")}
    assert Path(put(store, CONTENT).path).parent == Path("01")


@pytest.mark.parametrize("is_sealed", [True, False])
def test_what_is_not_kept_leaves_nothing(is_sealed: bool, store: InstanceStore) -> None:
    unfinished = store.begin(PREFIX)
    unfinished.write([CONTENT])
    if is_sealed:
        unfinished.seal()
    assert store.quiet_s() == 0.0
    unfinished.discard()
    assert kept(store) == []
    assert store.quiet_s() > 0.0


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
    monkeypatch.setattr(os, "fchmod", record("fchmod", os.fchmod))
    return seen


def test_names_are_durable_before_they_are_used_and_content_before_seal_returns(
    store: InstanceStore, steps: list[str]
) -> None:
    steps.clear()
    for _ in range(2):
        put(store, CONTENT)
    whole = [f"fchmod .dcm {len(CONTENT)}", f"fsync .dcm {len(CONTENT)}"]
    assert steps == ["fsync folder", *whole, *whole]


def test_the_folder_itself_is_durable_before_anything_is_received(tmp_path: Path, steps: list[str]) -> None:
    steps.clear()
    InstanceStore(tmp_path / "instances")
    assert steps == ["fsync folder", "fsync folder"]


def test_a_disk_below_its_reserve_is_full(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    store = InstanceStore(tmp_path / "instances")
    unfinished = store.begin(b"")
    store._min_free_bytes = 2 * free
    unfinished.write([CONTENT])  # room for so little was found at the beginning
    with pytest.raises(StorageFull, match=rf"\d+ bytes free, {EARLY_WRITE_BYTES} wanted, {2 * free} kept in reserve"):
        unfinished.write([bytes(EARLY_WRITE_BYTES)])
    with pytest.raises(StorageFull):
        store.begin(b"")
    assert not store.has_room()
    unfinished.discard()
    assert kept(store) == []


def test_what_is_in_flight_is_kept_room_for(store: InstanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [store.begin(b"") for _ in range(3)]
    monkeypatch.setattr(store, "free_bytes", lambda: 10 * EARLY_WRITE_BYTES)
    store._min_free_bytes = 8 * EARLY_WRITE_BYTES
    with pytest.raises(StorageFull):
        store.begin(b"")
    for each in begun:
        each.discard()
    store.begin(b"").discard()


def test_of_two_that_begin_together_none_is_given_the_room_of_the_other(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._min_free_bytes = 8 * EARLY_WRITE_BYTES
    monkeypatch.setattr(store, "free_bytes", lambda: 9 * EARLY_WRITE_BYTES)
    take = store._spares.take

    def take_while_another_begins() -> PartFile:
        monkeypatch.setattr(store._spares, "take", take)
        store.begin(b"")
        return take()

    monkeypatch.setattr(store._spares, "take", take_while_another_begins)
    with pytest.raises(StorageFull):
        store.begin(b"")
    assert len(store._in_flight) == 1


def test_the_disk_is_asked_for_room_again_before_more_is_written_than_was_kept_back(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_at: list[int] = []
    unfinished = store.begin(b"")
    monkeypatch.setattr(store, "require_room", lambda _: asked_at.append(unfinished.path.stat().st_size))
    for _ in range(9):
        unfinished.write([bytes(EARLY_WRITE_BYTES // 4)])
    assert asked_at == [EARLY_WRITE_BYTES, 2 * EARLY_WRITE_BYTES]
    unfinished.discard()


def test_what_cannot_be_read_again_is_the_disk_s_fault(store: InstanceStore) -> None:
    unfinished = store.begin(PREFIX)
    unfinished.write([CONTENT])
    assert unfinished.reader().read() == PREFIX + CONTENT
    os.truncate(unfinished.path, 3)
    with pytest.raises(OSError, match="less of the file"):
        unfinished.reader().read()
    unfinished.discard()


@pytest.mark.parametrize("step", ["fsync", "fchmod", "writev"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fails_is_full_and_leaves_nothing(
    step: str, code: int, store: InstanceStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    unfinished = store.begin(PREFIX)
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageFull, match=os.strerror(code)):
        write_and_seal(unfinished)
    unfinished.discard()
    assert kept(store) == []


def test_a_folder_that_cannot_be_written_is_found_so_and_nothing_is_left_of_it(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    descriptors = len(os.listdir("/proc/self/fd"))
    store.require_writable()
    monkeypatch.setattr(os, "writev", fail)
    with pytest.raises(StorageFull):
        store.require_writable()
    assert kept(store) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert store.quiet_s() > 0.0


def write_and_seal(unfinished: Unfinished) -> None:
    unfinished.write([CONTENT])
    unfinished.seal()


def test_only_files_that_were_cut_short_are_set_aside_when_old(store: InstanceStore) -> None:
    named, whole, old, young = (store.open(put(store, b"whole").path) for _ in range(4))
    for path in (old, young):
        path.chmod(0o640)
    for path in (named, whole, old):
        os.utime(path, (1000, 1000))
    names = {each: str(each.relative_to(store.root)) for each in (named, whole, old, young)}
    assert store.look_over({names[named]}, older_than=2000) == LookedOver(cut_short=1, whole=1)
    assert kept(store) == sorted(name for path, name in names.items() if path != old)
    assert (store.root / "cut-short" / old.name).read_bytes() == b"whole"


def test_empty_files_that_nobody_took_are_removed_when_old(store: InstanceStore) -> None:
    store.begin(PREFIX).discard()
    assert list(store.root.glob("??/*"))
    assert InstanceStore(store.root).look_over((), older_than=time.time() + 60) == LookedOver(cut_short=0, whole=0)
    assert list(store.root.glob("??/*")) == []


@pytest.mark.parametrize("clear_away", [Path.unlink, lambda path: path.rename(path.with_suffix(".aside"))])
def test_a_file_that_was_removed_meanwhile_is_not_sealed(
    clear_away: Callable[[Path], object], store: InstanceStore
) -> None:
    unfinished = store.begin(PREFIX)
    clear_away(unfinished.path)
    with pytest.raises(StorageFull, match="removed meanwhile"):
        unfinished.seal()
    unfinished.discard()


def test_names_that_waited_long_are_not_used(store: InstanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(store, CONTENT)
    monkeypatch.setattr(spare_files, "_FRESH_S", 0.0)
    assert Path(put(store, CONTENT).path).parent != Path(first.path).parent
    assert len(list((store.root / "00").iterdir())) == 1


def test_names_that_are_gone_with_their_folder_are_not_tried_again(store: InstanceStore) -> None:
    put(store, CONTENT)
    (store.root / "00").rename(store.root / "away")
    with pytest.raises(StorageFull):
        store.begin(PREFIX)
    put(store, CONTENT)


def test_a_file_system_that_keeps_no_modes_is_refused(store: InstanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = store.begin(PREFIX)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    with pytest.raises(StorageFull, match="does not keep file modes"):
        unfinished.seal()
    unfinished.discard()
    assert kept(store) == []


def test_a_file_that_is_gone_is_told_from_a_folder_that_is_away(store: InstanceStore) -> None:
    path = put(store, CONTENT).path
    file = store.open(path)
    file.unlink()
    with pytest.raises(InvalidHeader, match="file is gone"):
        store.open(path)
    shutil.rmtree(file.parent)
    with pytest.raises(StorageAway):
        store.open(path)


def test_the_data_set_of_an_older_row_is_found_by_the_head_of_its_file(store: InstanceStore) -> None:
    unfinished = store.begin(file_prefix(Announcement("1.2", "1.2.3", "1.2.840.10008.1.2.1", "MODALITY")))
    unfinished.write([CONTENT])
    of_older_row = StoredFile(keep(unfinished).path, 0)
    assert store.sha256(of_older_row) == sha256(CONTENT).hexdigest()


def test_a_file_that_was_shortened_has_no_digest(store: InstanceStore) -> None:
    stored = put(store, CONTENT)
    os.truncate(store.open(stored.path), len(CONTENT) - 1)
    with pytest.raises(OSError, match="shorter"):
        store.sha256(stored)


def test_a_file_that_cannot_be_removed_holds_up_no_other_and_is_named(store: InstanceStore) -> None:
    paths = [put(store, CONTENT).path for _ in range(3)]
    stuck = store.root / paths[1]
    stuck.unlink()
    stuck.mkdir()
    why = store.remove(paths)
    assert (list(why), why[paths[1]].strerror) == ([paths[1]], "Is a directory")
    assert kept(store) == [paths[1]]


def test_nothing_is_taken_for_removed_while_the_folder_is_away(store: InstanceStore) -> None:
    path = put(store, CONTENT).path
    (store.root / path).parent.rename(store.root / "away")
    assert list(store.remove([path])) == [path]


def test_image_folders_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """Of another account, which nothing is to who may do everything."""
    (tmp_path / "instances").touch()
    words = (
        rf"instance folder .*/instances cannot be used \(Not a directory\): give uid {os.getuid()} all that is in it"
    )
    with pytest.raises(Permanent, match=words):
        InstanceStore(tmp_path / "instances")
