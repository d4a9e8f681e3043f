"""Who is connected to any of the processes that receive: the limits are those of the node, not of a process."""

import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import NamedTuple


class Place(NamedTuple):
    """An association that takes a place."""

    calling_ae: str
    requestor: str  # the other end of the connection


class Places:
    """What each process has said of itself, in a file without a name. The kernel frees the lock of whoever dies.

    For the process that makes it and those forked from it, each with a number of its own; for any thread.
    """

    def __init__(self) -> None:
        self._file = _nameless_file()
        self._lock = threading.Lock()

    def exchange(self, process: int, count_own: Callable[[], Sequence[Place]]) -> tuple[list[Place], list[Place]]:
        """Say which places this process has given, and hear which the others have: its own, theirs.

        count_own: asked while nobody else speaks, or what is said last could be older than what was said before.
        """
        key = str(process)
        with self._alone() as known:
            own = list(count_own())
            others = [Place(*each) for name, places in known.items() if name != key for each in places]
            if known.get(key, []) != [list(each) for each in own]:
                self._write({**known, key: own})
        return own, others

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _alone(self) -> Iterator[dict[str, list[list[str]]]]:
        """What is known, while nobody else writes."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)  # of this process: it does not keep its own threads apart
            try:
                yield self._read()
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _read(self) -> dict[str, list[list[str]]]:
        """Nothing, if a process died while it wrote: the others soon speak again."""
        content = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0)
        try:
            return dict(json.loads(content))
        except ValueError:
            return {}

    def _write(self, known: dict[str, Sequence[Sequence[str]]]) -> None:
        content = json.dumps(known).encode()
        os.ftruncate(self._file.fileno(), len(content))
        os.pwrite(self._file.fileno(), content, 0)


def _nameless_file() -> FileIO:
    """In memory, where the system has that: a full disk is no reason to hang up on who asks."""
    if hasattr(os, "memfd_create"):
        return FileIO(os.memfd_create("places"), "r+")
    with tempfile.TemporaryFile() as file:
        return FileIO(os.dup(file.fileno()), "r+")
