"""Received objects as files, byte for byte."""

import math
import os
import shutil
import time
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import EIO
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from dicom_node.errors import InvalidHeader, Permanent, StorageAway, StorageFull
from dicom_node.part_file import EARLY_WRITE_BYTES, PartFile, PartReader, fsync_folder, is_finished, storage_full
from dicom_node.spare_files import SpareFiles, make_folders

_PIECE_BYTES = 1024 * 1024
_CUT_SHORT = "cut-short"  # folder of what a crash has left
_META_GROUP_LENGTH_END = 144  # PS3.10 7.1: preamble, prefix, (0002,0000) with its value of four bytes


@dataclass(frozen=True)
class StoredFile:
    """A file under its name and what its row must know of it."""

    path: str  # below the store's root
    size_bytes: int  # of the data set as received


@dataclass(frozen=True)
class LookedOver:
    """What was found of files that no row names."""

    cut_short: int  # set aside now
    whole: int  # finished


class Unfinished:
    """An object on its way to the disk: written as it comes, then sealed or discarded."""

    def __init__(self, store: "InstanceStore", part: PartFile, prefix: bytes) -> None:
        self._store = store
        self._part = part
        self._prefix_bytes = len(prefix)
        self._ahead = [prefix]  # written before the first pieces, by the same call to the system
        self._room_until = EARLY_WRITE_BYTES  # so long the file may get before the disk is asked again

    @property
    def path(self) -> Path:
        """Where its bytes are."""
        return self._part.path

    def write(self, pieces: list[bytes | memoryview]) -> None:
        """Append pieces of the data set. Raises StorageFull when the disk has no room or cannot be written."""
        size = sum(map(len, pieces))
        if self._part.size + size > self._room_until:
            self._store.require_room(size)
            self._room_until = self._part.size + max(size, EARLY_WRITE_BYTES)
        self._part.write([*self._ahead, *pieces])
        self._ahead = []

    def reader(self) -> PartReader:
        """All that was written, the prefix too, to be read from its beginning."""
        return self._part.reader()

    def begin_write_back(self) -> None:
        """Nothing more will be written: let the disk begin, and do not wait."""
        self._part.begin_write_back()

    def seal(self) -> StoredFile:
        """Make the content durable; the name is since before. Raises StorageFull."""
        self._part.finish()
        return StoredFile(str(self.path.relative_to(self._store.root)), self._part.size - self._prefix_bytes)

    def keep(self) -> None:
        """From now on a row may name the file: it is not discarded any more."""
        self._part.keep()

    def discard(self) -> None:
        """Close the file, and remove it unless it is kept. Harmless when that is done already."""
        self._part.close()
        self._store.forget(self)


class InstanceStore:
    """Part 10 files below one folder, in sub-folders. A name is used once and never again."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        """Raises Permanent if the folders are not there and cannot be made, or cannot be used."""
        self.root = root
        self._min_free_bytes = min_free_bytes
        self._in_flight: set[Unfinished] = set()
        self._quiet_since = -math.inf
        try:
            make_folders(root)
        except OSError as error:
            fix = f"give uid {os.getuid()} all that is in it"
            raise Permanent(f"instance folder {root} cannot be used ({error.strerror}): {fix}") from error
        self._spares = SpareFiles(root)

    def begin(self, prefix: bytes) -> Unfinished:
        """A new file that will begin with the prefix: what comes before the data set.

        Raises StorageFull when the disk has no room or the file cannot be opened.
        """
        unfinished = Unfinished(self, self._spares.take(), prefix)
        self._in_flight.add(unfinished)  # from here on its first megabyte is kept room for
        try:
            self.require_room(0)
        except StorageFull:
            unfinished.discard()
            raise
        return unfinished

    def require_writable(self) -> None:
        """Write a few bytes and forget them. Raises StorageFull."""
        unfinished = self.begin(b"written to see whether it can be")
        try:
            unfinished.write([])
        finally:
            unfinished.discard()

    def forget(self, unfinished: Unfinished) -> None:
        self._in_flight.discard(unfinished)
        self._quiet_since = time.monotonic()

    def quiet_s(self) -> float:
        """For how long nothing has been received; 0 while something is."""
        return 0.0 if self._in_flight else time.monotonic() - self._quiet_since

    def sha256(self, file: StoredFile) -> str:
        """64 hex digits, of the data set in the file. Raises OSError when it cannot be read."""
        return digest_of(self.root / file.path, file.size_bytes)

    def require_room(self, size: int) -> None:
        """Raise StorageFull unless so many bytes fit above the reserve, beside what is in flight."""
        free, in_flight = self.free_bytes(), len(self._in_flight) * EARLY_WRITE_BYTES
        if free - in_flight - size < self._min_free_bytes:
            raise StorageFull(f"{free} bytes free, {size} wanted, {self._min_free_bytes} kept in reserve")

    def has_room(self) -> bool:
        """Whether the reserve is untouched: below it, nothing can be received."""
        with suppress(StorageFull):
            return self.free_bytes() >= self._min_free_bytes
        return False

    def holds(self, path: str) -> bool:
        """Whether the file of a row is there. Raises OSError if that cannot be seen."""
        try:
            return S_ISREG((self.root / path).stat().st_mode)
        except FileNotFoundError:
            return False

    def is_only_name(self, path: str) -> bool:
        """Whether the file is there, and removing it would free its room. Raises OSError if that cannot be seen."""
        try:
            return (self.root / path).stat().st_nlink == 1
        except FileNotFoundError:
            return False

    def remove(self, paths: Iterable[str]) -> dict[str, OSError]:
        """Return when the files and their names are gone from the disk, however many were there; of the rest, why."""
        stuck: dict[str, OSError] = {}
        for folder, own in groupby(sorted(paths), lambda path: (self.root / path).parent):
            stuck |= self._remove_from(folder, list(own))
        return stuck

    def open(self, path: str) -> Path:
        """The file of a row. Raises StorageAway if the folder cannot be read now, InvalidHeader if the file is gone."""
        if not path:
            raise InvalidHeader("the image was removed when its time was up; it can be sent again")
        file = self.root / path
        try:
            file.stat()
        except FileNotFoundError as error:
            if not file.parent.is_dir():  # made with the store: it is not mounted
                raise StorageAway("instance folder is away") from error
            raise InvalidHeader("the image's file is gone") from error
        except OSError as error:
            raise StorageAway(f"instance folder cannot be read: {error.strerror or type(error).__name__}") from error
        return file

    def look_over(self, with_row: Container[str], *, older_than: float) -> LookedOver:
        """Set aside files that a crash cut short, written before the time stamp, and remove the empty ones.

        with_row: the paths that rows name. Whole files without a row stay. A file that is not finished was never
        acknowledged, unless whoever copied it here lost its mode: so nothing that has content is thrown away.
        """
        cut_short = whole = 0
        for file in self.root.glob("??/*"):
            if str(file.relative_to(self.root)) in with_row:
                continue
            with suppress(FileNotFoundError):  # it was discarded meanwhile
                found = file.stat()
                if is_finished(found.st_mode):
                    whole += 1
                elif found.st_mtime < older_than:
                    cut_short += self._clear_away(file, has_content=found.st_size > 0)
        return LookedOver(cut_short, whole)

    def _remove_from(self, folder: Path, paths: Sequence[str]) -> dict[str, OSError]:
        stuck: dict[str, OSError] = {}
        for path in paths:
            try:
                (self.root / path).unlink(missing_ok=True)
            except OSError as error:
                stuck[path] = error
        try:
            fsync_folder(folder)
        except OSError as error:
            return dict.fromkeys(paths, error)
        return stuck

    def _clear_away(self, file: Path, *, has_content: bool) -> bool:
        """Whether it was worth keeping."""
        if not has_content:
            file.unlink()
            return False
        aside = self.root / _CUT_SHORT
        aside.mkdir(exist_ok=True)
        file.rename(aside / file.name)
        return True

    def free_bytes(self) -> int:
        """Of the disk. Raises StorageFull when it cannot be asked."""
        with storage_full():
            return shutil.disk_usage(self.root).free


def digest_of(file: Path, size_bytes: int) -> str:
    """SHA-256, 64 hex digits, of the data set in a Part 10 file; size_bytes: how long it is, 0 if nobody knows.

    Raises OSError when it cannot be read, or is shorter.
    """
    digest = sha256()
    with file.open("rb") as content:
        content.seek(_data_set_at(content, size_bytes))
        for piece in iter(lambda: content.read(_PIECE_BYTES), b""):
            digest.update(piece)
    return digest.hexdigest()


def _data_set_at(part10: BinaryIO, size_bytes: int) -> int:
    """Where the data set begins. A row of schema 0003 or older does not know its size, 0; the file's head does.

    Raises OSError if the file is shorter than what was received.
    """
    if size_bytes:
        before = os.fstat(part10.fileno()).st_size - size_bytes
        if before < 0:
            raise OSError(EIO, "the file is shorter than what was received")
        return before
    head = part10.read(_META_GROUP_LENGTH_END)
    return len(head) + int.from_bytes(head[-4:], "little")
