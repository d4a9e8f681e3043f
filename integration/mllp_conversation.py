"""One MLLP connection: messages in, acknowledgements out, for as long as the sender keeps it sensible."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from dicom_node import logs
from dicom_node.clock import utc_now
from dicom_node.errors import PeerUnreachable
from integration.acknowledgement import DATA_TYPE_ERROR, INTERNAL_ERROR, Refused, acknowledge, error, rejection
from integration.er7 import read_header, split_batch
from integration.framing import Deframer, frame
from integration.group_queue import MOST_IN_GROUP, GroupQueue

READ_BYTES = 64 * 1024
_HEADER_BYTES = 4 * 1024
_LAST_WORDS_S = 5.0  # to read out who still sends: closing at once would take our answer away from him

_log = logs.get("mllp")


@dataclass(frozen=True)
class Limits:
    """What one sender, and all together, may ask of this process."""

    message_bytes: int = 32 * 1024 * 1024
    held_bytes: int = 128 * 1024 * 1024  # of all connections, read and not yet answered
    message_s: float = 60.0  # from a message's first byte to its last, and for reading an answer
    idle_s: float = 3_600.0  # between messages
    connections: int = 500
    connections_of_one: int = 250  # from one address


class Budget:
    """Bytes that all connections hold together."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, count: int) -> bool:
        """Hold so many more, or give back (negative). False: there are not so many left."""
        self._left -= count
        return self._left >= 0


class Conversation:
    """Answers each message when it is kept; the next bytes are read when all before them are answered."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        queue: GroupQueue,
        *,
        budget: Budget,
        limits: Limits,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._queue = queue
        self._budget = budget
        self._limits = limits
        self._deframer = Deframer(limits.message_bytes)
        self._held = 0  # of the budget
        self._wait(limits.idle_s)

    async def hold(self) -> None:
        """Until the sender ends it, keeps silent for too long, or sends what cannot be held."""
        try:
            while received := await self._receive():
                await self._take(received)
        except TimeoutError:
            _log.info("connection_given_up", bytes=len(self._deframer))
        except Refused as refused:
            _log.warning("message_refused", reason=str(refused))
            await self._end_with(refused)
        except OSError:
            _log.debug("connection_lost")
        finally:
            self._hold(0)

    async def _receive(self) -> bytes:
        async with asyncio.timeout_at(self._deadline):
            return await self._reader.read(READ_BYTES)

    async def _take(self, received: bytes) -> None:
        self._hold(self._held + len(received))
        before = len(self._deframer)
        messages = [message for block in self._feed(received) for message in split_batch(block)]
        for first in range(0, len(messages), MOST_IN_GROUP):
            await self._send(await self._queue.put(messages[first : first + MOST_IN_GROUP]))
        self._hold(len(self._deframer))
        if len(self._deframer) == 0 and (messages or before):
            self._wait(self._limits.idle_s)
        elif len(self._deframer) > 0 and (messages or not before):
            self._wait(self._limits.message_s)

    def _feed(self, received: bytes) -> list[bytes]:
        try:
            return self._deframer.feed(received)
        except PeerUnreachable as cause:
            words = f"expected {self._limits.message_bytes} bytes at most"
            raise error(DATA_TYPE_ERROR, "", words) from cause

    async def _send(self, answers: list[bytes | None]) -> None:
        self._writer.write(b"".join(frame(answer) for answer in answers if answer is not None))
        async with asyncio.timeout(self._limits.message_s):
            await self._writer.drain()

    async def _end_with(self, refused: Refused) -> None:
        header = read_header(self._deframer.beginning(_HEADER_BYTES))
        with suppress(OSError, TimeoutError):
            await self._send([acknowledge(header, refused, utc_now())])
            async with asyncio.timeout(_LAST_WORDS_S):
                while await self._reader.read(READ_BYTES):
                    pass

    def _hold(self, count: int) -> None:
        """Raises Refused when all connections together would hold too much."""
        more, self._held = count - self._held, count
        if not self._budget.take(more) and more > 0:
            raise rejection(INTERNAL_ERROR, "", "too much is being received at once: send again")

    def _wait(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().time() + seconds
