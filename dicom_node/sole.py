"""One `dicom-node up` on one data folder: a second would take the first one's work for what a dead node has left."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.errors import Permanent

_NAME = "node.lock"


@contextmanager
def alone_on(folder: Path) -> Iterator[None]:
    """Hold the folder while the block runs, however it ends. Raises Permanent where another process holds it."""
    with (folder / _NAME).open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock: forked roles would hold it, too
        except OSError as error:
            file.seek(0)
            raise Permanent(f"a node (pid {file.read()}) already runs on {folder}") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
