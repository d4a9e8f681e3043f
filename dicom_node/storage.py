"""Received objects as files, byte for byte, each named by the hash of its data set."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dicom_node.errors import InvalidHeader, StorageAway, StorageFull
from dicom_node.hashing import StreamDigest
from dicom_node.part_file import EARLY_WRITE_BYTES, PartFile, fsync_folder, storage_full

_UNFINISHED = ".part"
_FOLDERS = 256


@dataclass(frozen=True)
class StoredFile:
    """A file under its name and what its row must know of it."""

    path: str  # below the store's root
    sha256: str  # of the data set as received


class Unfinished:
    """An object on its way to the disk: written as it comes, then sealed or discarded."""

    def __init__(self, store: "InstanceStore", part: PartFile, digest: StreamDigest) -> None:
        self._store = store
        self._part = part
        self._digest = digest

    @property
    def path(self) -> Path:
        """Where its bytes are until it is sealed."""
        return self._part.path

    def write(self, pieces: list[bytes | memoryview]) -> None:
        """Append pieces of the data set; they must stay as they are until the next call has returned.

        Raises StorageFull when the disk has no room or cannot be written.
        """
        self._store.require_room(sum(map(len, pieces)))
        self._digest.update(pieces, has_cores_to_spare=self._store.has_cores_to_spare())
        self._part.write(pieces)

    def seal(self) -> StoredFile:
        """Make the content durable and give the file its name; `InstanceStore.settle` makes the name durable.

        Raises StorageFull; then nothing is left of it.
        """
        try:
            self._part.sync()  # the digest is still being made
            sha256 = self._digest.hexdigest()
            path = Path(sha256[:2]) / f"{sha256}.dcm"
            # What was acknowledged stays as it is, file meta information and all: a name means whole content on disk.
            if not (self._store.root / path).exists():
                self._part.rename(self._store.root / path)
        finally:
            self.discard()
        return StoredFile(str(path), sha256)

    def discard(self) -> None:
        """Close it, and remove what has no name yet. Harmless when it is sealed or discarded already."""
        self._part.discard()
        self._store.forget(self)


class InstanceStore:
    """Part 10 files below one folder, in 256 sub-folders."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        self.root = root
        self._min_free_bytes = min_free_bytes
        self._token = secrets.token_hex(4)  # process numbers come again, in a container soon
        self._numbers = count()
        self._in_flight: set[Unfinished] = set()
        self._cores = os.cpu_count() or 1
        self._hashers = ThreadPoolExecutor(max_workers=self._cores, thread_name_prefix="sha256")
        for number in range(_FOLDERS):
            (root / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        fsync_folder(root)

    def begin(self, prefix: bytes) -> Unfinished:
        """A new file that begins with the prefix: what comes before the data set and is not part of its hash.

        Raises StorageFull when the disk has no room or cannot be written.
        """
        self.require_room(len(prefix))
        number = next(self._numbers)
        path = self.root / f"{number % _FOLDERS:02x}" / f"{self._token}-{number}{_UNFINISHED}"
        part = PartFile(path)
        part.write([prefix])
        unfinished = Unfinished(self, part, StreamDigest(self._hashers))
        self._in_flight.add(unfinished)
        return unfinished

    def forget(self, unfinished: Unfinished) -> None:
        self._in_flight.discard(unfinished)

    def has_cores_to_spare(self) -> bool:
        """Whether each object in flight can have two: one to receive and one to hash."""
        return 2 * len(self._in_flight) <= self._cores

    def settle(self, files: Iterable[StoredFile]) -> None:
        """Make the names of sealed files durable: when this returns they survive a power cut. Raises StorageFull."""
        for folder in {Path(file.path).parent for file in files}:
            with storage_full():
                fsync_folder(self.root / folder)

    def require_room(self, size: int) -> None:
        """Raise StorageFull unless so many bytes fit above the reserve, beside what is in flight."""
        free, in_flight = self._free_bytes(), len(self._in_flight) * EARLY_WRITE_BYTES
        if free - in_flight - size < self._min_free_bytes:
            raise StorageFull(f"{free} bytes free, {size} wanted, {self._min_free_bytes} kept in reserve")

    def has_room(self) -> bool:
        """Whether the reserve is untouched: below it, nothing can be received."""
        with suppress(StorageFull):
            return self._free_bytes() >= self._min_free_bytes
        return False

    def open(self, path: str) -> Path:
        """The file of a row. Raises StorageAway if the folder cannot be read now, InvalidHeader if the file is gone."""
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

    def discard_unfinished(self, *, older_than: float) -> int:
        """Remove files that a crash cut short, written before the time stamp: Success was never answered for them."""
        unfinished = [p for p in self.root.glob(f"??/*{_UNFINISHED}") if p.stat().st_mtime < older_than]
        for path in unfinished:
            path.unlink(missing_ok=True)
        return len(unfinished)

    def paths(self) -> Iterator[str]:
        """Every whole file, as rows name it."""
        return (str(p.relative_to(self.root)) for p in self.root.glob("??/*.dcm"))

    def _free_bytes(self) -> int:
        with storage_full():
            return shutil.disk_usage(self.root).free
