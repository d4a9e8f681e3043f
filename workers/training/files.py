"""The files of a run: each appears whole or not at all, and a full disk is told in words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from workers.llavarad.folder import writing


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; it becomes `path` when the block ends, and vanishes if the block fails.

    Raises StorageFull where the disk takes no more.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with writing(path):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Raises StorageFull."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """An array in a new file, all of whose room is taken: a map that grows on a full disk kills its process."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
