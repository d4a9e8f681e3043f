"""SHA-256 of a stream, in a thread beside the one that receives where that pays."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, Future

_WORTH_A_THREAD_BYTES = 256 * 1024  # 0.14 ms of hashing; handing over costs as much on a busy machine


class StreamDigest:
    """The digest of pieces in their order.

    A piece may be a view of a buffer: it must stay as it is until the next `update` or `hexdigest` has returned.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._digest = hashlib.sha256()
        self._pending: Future[None] | None = None

    def update(self, pieces: Sequence[bytes | memoryview], *, has_cores_to_spare: bool) -> None:
        """Add pieces. Where cores are to spare, many bytes are hashed while the caller goes on."""
        self._catch_up()
        if has_cores_to_spare and sum(map(len, pieces)) >= _WORTH_A_THREAD_BYTES:
            self._pending = self._threads.submit(self._add, tuple(pieces))
        else:
            self._add(pieces)

    def hexdigest(self) -> str:
        """64 hex digits, of all that was added."""
        self._catch_up()
        return self._digest.hexdigest()

    def _add(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            self._digest.update(piece)

    def _catch_up(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
