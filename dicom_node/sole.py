"""One `dicom-node up` on one data folder: a second would take the first one's work for what a dead node has left."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dicom_node.errors import Permanent

_NAME = "node.lock"


@contextmanager
def alone_on(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs, however it ends. Raises Permanent where another process holds it."""
    with open_lock(folder / _NAME) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: forked roles would hold it, too
        except OSError as error:
            file.seek(0)
            raise Permanent(f"a node (pid {file.read()}) already runs on {folder}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def open_lock(path: Path) -> TextIO:
    """Raises Permanent where that cannot be: another account made the file, or now runs the node."""
    try:
        return path.open("a+")
    except OSError as error:
        fix = f"give uid {os.getuid()} all that is in {path.parent}"
        raise Permanent(f"{path} cannot be opened ({error.strerror}): {fix}") from error
