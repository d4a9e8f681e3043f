"""Received objects as files, byte for byte, each named by the hash of its data set."""

import hashlib
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import StorageFull

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
        """The file of a row."""
        return self._root / path

    def delete(self, path: str) -> None:
        """Remove a file; gone already is fine."""
        (self._root / path).unlink(missing_ok=True)

    def unregistered(self, registered: frozenset[str], *, older_than: float) -> list[str]:
        """Files without a row, last written before the time stamp: left by a crash before Success was answered."""
        files = (p for p in self._root.glob("??/*") if p.stat().st_mtime < older_than)
        return sorted(name for p in files if (name := str(p.relative_to(self._root))) not in registered)

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
