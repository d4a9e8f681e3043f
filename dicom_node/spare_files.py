"""Empty files made beforehand: a name must be durable before its row is, and one fsync of a folder makes many so."""

import secrets
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from dicom_node.errors import StorageFull
from dicom_node.part_file import PartFile, create_empty, fsync_folder, storage_full

_FOLDERS = 256
_AT_ONCE = 64
# Start-up of another process removes files that nobody has written for an hour: long before, they are given up.
_FRESH_S = 1_200.0


def make_folders(root: Path) -> None:
    """Make the sub-folders that instance files lie in, durably. Raises OSError."""
    for number in range(_FOLDERS):
        (root / f"{number:02x}").mkdir(parents=True, exist_ok=True)
    for folder in (root, root.parent):  # the names of the sub-folders, and that of the folder itself
        fsync_folder(folder)


class SpareFiles:
    """Hands out empty files with durable names, each once; any thread may take one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._token = secrets.token_hex(8)
        self._batches = count()
        self._lock = threading.Lock()
        self._ready: list[Path] = []
        self._made_at = 0.0

    def take(self) -> PartFile:
        """Open the next one. Raises StorageFull when none can be made, or it is gone with its folder."""
        with self._lock:
            if time.monotonic() - self._made_at > _FRESH_S:
                self._give_up()
            if not self._ready:
                self._make()
            path = self._ready.pop()
        try:
            return PartFile(path)
        except StorageFull:
            with self._lock:
                self._give_up()
            raise

    def _make(self) -> None:
        batch = next(self._batches)
        folder = self._root / f"{batch % _FOLDERS:02x}"
        made = [folder / f"{self._token}-{batch}-{number}.dcm" for number in reversed(range(_AT_ONCE))]
        try:
            for path in made:
                create_empty(path)
            with storage_full():
                fsync_folder(folder)
        except StorageFull:
            _remove(made)
            raise
        self._ready, self._made_at = made, time.monotonic()

    def _give_up(self) -> None:
        _remove(self._ready)
        self._ready = []


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # start-up finds it then
            path.unlink(missing_ok=True)
