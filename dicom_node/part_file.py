"""A file that is written while it is received: few copies, early write-back, durable when asked."""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from dicom_node.errors import StorageFull

EARLY_WRITE_BYTES = 4 * 1024 * 1024  # the disk begins to write after so many: less is left for fsync to wait for
_MOST_PIECES = 1024  # IOV_MAX, what one writev takes
_SYNC_FILE_RANGE_WRITE = 2  # begin to write, do not wait


class PartFile:
    """A new file, open for writing. Every method raises StorageFull when the disk fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = self._begun = 0  # bytes written; of these, the disk was told to begin with
        with storage_full():
            self._file: int | None = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o640)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append the pieces without joining them."""
        with storage_full():
            for first in range(0, len(pieces), _MOST_PIECES):
                self._write(pieces[first : first + _MOST_PIECES])
            if self._size - self._begun >= EARLY_WRITE_BYTES:
                _begin_write_back()(self._handle, self._begun, self._size - self._begun)
                self._begun = self._size

    def sync(self) -> None:
        """Return when the content is on the disk."""
        with storage_full():
            os.fsync(self._handle)

    def rename(self, path: Path) -> None:
        """Give the file its name, in the place of one that has it."""
        with storage_full():
            self.path.rename(path)
        self.path = path
        self._close()

    def discard(self) -> None:
        """Close and remove the file, unless it was renamed."""
        if self._file is not None:
            self._close()
            with suppress(OSError):  # start-up removes it then
                self.path.unlink(missing_ok=True)

    @property
    def _handle(self) -> int:
        if self._file is None:
            raise ValueError("the file is closed")
        return self._file

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        while pieces:
            written = os.writev(self._handle, pieces)
            self._size += written
            pieces = _after(pieces, written)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


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
