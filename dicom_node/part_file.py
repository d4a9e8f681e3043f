"""A file that is written while it is received: few copies, early write-back, durable when it is finished."""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EIO, ENOENT, ENOTSUP
from functools import cache
from pathlib import Path
from stat import S_IMODE, S_IWGRP, S_IWOTH, S_IWUSR

from dicom_node.errors import StorageFull

EARLY_WRITE_BYTES = 1024 * 1024  # the disk begins to write after so many: less is left for fsync to wait for
_MOST_PIECES = 1024  # IOV_MAX, what one writev takes
_SYNC_FILE_RANGE_WRITE = 2  # begin to write, do not wait
_WRITABLE = S_IWUSR | S_IWGRP | S_IWOTH  # by anybody: a file that is not finished


def create_empty(path: Path) -> None:
    """Make a file that a PartFile can be. Raises StorageFull."""
    with storage_full():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640))


def is_finished(mode: int) -> bool:
    """Whether a file of this mode (st_mode) was finished: nobody may write it any more."""
    return not mode & _WRITABLE


class PartFile:
    """An empty file, open for writing. Every method but `reader` raises StorageFull when the disk fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_kept = False
        self.size = self._begun = 0  # bytes written; of these, the disk was told to begin with
        with storage_full():
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append the pieces without joining them."""
        with storage_full():
            for first in range(0, len(pieces), _MOST_PIECES):
                self._write(pieces[first : first + _MOST_PIECES])
        if self.size - self._begun >= EARLY_WRITE_BYTES:
            self.begin_write_back()

    def begin_write_back(self) -> None:
        """Let the disk begin with what it was not told of, and do not wait."""
        _begin_write_back()(self._handle, self._begun, self.size - self._begun)
        self._begun = self.size

    def finish(self) -> None:
        """Return when content and mode are on the disk."""
        with storage_full():
            os.fchmod(self._handle, S_IMODE(os.fstat(self._handle).st_mode) & ~_WRITABLE)
            os.fsync(self._handle)
            found = os.fstat(self._handle)
            if not is_finished(found.st_mode):  # start-up could not tell it from one cut short
                raise OSError(ENOTSUP, "its file system does not keep file modes")
            if not self._is_in_its_place(found):  # taken for one that a crash cut short, by a clock that jumped
                raise OSError(ENOENT, "the file was removed meanwhile")

    def reader(self) -> "PartReader":
        """What was written, to be read from its beginning."""
        return PartReader(self._handle, self.size)

    def keep(self) -> None:
        """Closing leaves the file where it is; otherwise it removes it."""
        self._is_kept = True

    def close(self) -> None:
        """Close the file, and remove it unless it is kept. Harmless when it is closed already."""
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        if not self._is_kept:
            with suppress(OSError):  # start-up finds it then
                self.path.unlink(missing_ok=True)

    def _is_in_its_place(self, found: os.stat_result) -> bool:
        """found: of the file that is open."""
        try:
            return os.path.samestat(found, os.stat(self.path))
        except FileNotFoundError:
            return False

    @property
    def _handle(self) -> int:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        while pieces:
            written = os.writev(self._handle, pieces)
            self.size += written
            pieces = _after(pieces, written)


class PartReader:
    """A file to read, without a call to the system for what its user knows; `read` raises OSError."""

    def __init__(self, handle: int, size: int) -> None:
        self._handle, self._size = handle, size
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if count < 0 else min(count, left)
        content = os.pread(self._handle, wanted, self._at) if wanted else b""
        if len(content) < wanted:
            raise OSError(EIO, "less of the file can be read than was written")
        self._at += len(content)
        return content


@contextmanager
def storage_full() -> Iterator[None]:
    """Turn what the disk raises into StorageFull."""
    try:
        yield
    except OSError as error:
        raise StorageFull(f"instance folder cannot be written: {error.strerror or type(error).__name__}") from error


def fsync_folder(folder: Path) -> None:
    """Return when the names in the folder are on the disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _after(pieces: Sequence[bytes | memoryview], written: int) -> Sequence[bytes | memoryview]:
    """What is left of the pieces when so many bytes of them are written."""
    for number, piece in enumerate(pieces):
        if written < len(piece):
            return [memoryview(piece)[written:], *pieces[number + 1 :]]
        written -= len(piece)
    return ()


@cache
def _begin_write_back() -> Callable[[int, int, int], None]:
    """sync_file_range(2), which Python's os module lacks; nothing where there is none."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is None:
        return lambda *_: None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return lambda file, offset, size: function(file, offset, size, _SYNC_FILE_RANGE_WRITE)
