"""Received objects as files, byte for byte, each named by the hash of its data set."""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import InvalidHeader, StorageAway, StorageFull

_UNFINISHED = ".part"


@dataclass(frozen=True)
class StoredFile:
    """A durable file and what its row must know of it."""

    path: str  # below the store's root
    sha256: str  # of the data set as received


class InstanceStore:
    """Part 10 files below one folder, in 256 sub-folders."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self._root = root
        self._min_free_bytes = min_free_bytes
        for number in range(256):
            (root / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        _fsync_folder(root)

    def put(self, part10: bytes, sha256: str) -> StoredFile:
        """Write the file so that it survives a power cut when this returns: temp, fsync, rename, fsync of the folder.

        Raises StorageFull when the disk has no room or cannot be written.
        """
        path = Path(sha256[:2]) / f"{sha256}.dcm"
        try:
            self._require_room(len(part10))
            self._write(self._root / path, part10)
        except OSError as error:
            raise StorageFull(f"instance folder cannot be written: {error.strerror or type(error).__name__}") from error
        return StoredFile(str(path), sha256)

    def open(self, path: str) -> Path:
        """The file of a row. Raises StorageAway if the folder cannot be read now, InvalidHeader if the file is gone."""
        file = self._root / path
        try:
            file.stat()
        except FileNotFoundError as error:
            if not file.parent.is_dir():  # made with the store: it is not mounted
                raise StorageAway("instance folder is away") from error
            raise InvalidHeader("the image's file is gone") from error
        except OSError as error:
            raise StorageAway(f"instance folder cannot be read: {error.strerror or type(error).__name__}") from error
        return file

    def discard_unfinished(self, *, older_than: float) -> int:
        """Remove files that a crash cut short, written before the time stamp: Success was never answered for them."""
        unfinished = [p for p in self._root.glob(f"??/*{_UNFINISHED}") if p.stat().st_mtime < older_than]
        for path in unfinished:
            path.unlink(missing_ok=True)
        return len(unfinished)

    def paths(self) -> Iterator[str]:
        """Every whole file, as rows name it."""
        return (str(p.relative_to(self._root)) for p in self._root.glob("??/*.dcm"))

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self._root).free
        if free - size < self._min_free_bytes:
            raise StorageFull(f"{free} bytes free, {size} wanted, {self._min_free_bytes} kept in reserve")

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}{_UNFINISHED}")
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _fsync_folder(path.parent)


def digest(data_set: bytes) -> str:
    """The name of a data set: SHA-256, 64 hex digits."""
    return hashlib.sha256(data_set).hexdigest()


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
