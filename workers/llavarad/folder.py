"""A folder that appears whole or not at all, and what a disk does not let be written or read, in words."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from dicom_node.errors import Permanent, StorageAway, StorageFull


@contextmanager
def new_folder(dest: Path, *, needed_bytes: int) -> Iterator[Path]:
    """A folder to fill; it becomes `dest` when the block ends, and vanishes if the block fails.

    Raises Permanent if `dest` exists, StorageFull if the disk has no room or cannot be written.
    """
    if dest.exists():
        raise Permanent(f"{dest} is there already: name a folder that does not exist")
    with writing(dest):
        dest.parent.mkdir(parents=True, exist_ok=True)
        _require_room(dest, needed_bytes)
        with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name}-") as scratch:
            made = Path(scratch) / dest.name
            made.mkdir()
            yield made
            made.rename(dest)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises StorageFull, naming what is written, where the disk takes no more or a right is lacking."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise StorageFull(f"{path} cannot be written: {words or type(error).__name__}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises StorageAway, naming the file, where a right is lacking or the disk is away."""
    try:
        yield
    except OSError as error:
        which = error.filename or path
        raise StorageAway(f"{which} cannot be read: {error.strerror or type(error).__name__}") from error


def _require_room(dest: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(dest.parent).free
    if free < needed_bytes:
        raise StorageFull(f"{dest} needs {needed_bytes} bytes, {free} are free there")
