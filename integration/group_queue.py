"""What many connections bring, handed to one thread in groups: all that came while it worked on the last group."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

MOST_IN_GROUP = 200  # messages: the database's lock is let go after so many

Answers = list[bytes | None]


@dataclass
class _Entry:
    messages: Sequence[bytes]
    answers: asyncio.Future[Answers] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupQueue:
    """Order is kept, between connections and within each: an order must not be overtaken by its cancelling."""

    def __init__(self, take: Callable[[Sequence[bytes]], Answers]) -> None:
        """take: gives the answers of messages; called by one thread, never twice at once. It does not raise."""
        self._take = take
        self._thread = ThreadPoolExecutor(1, "hl7-intake")
        self._waiting: deque[_Entry] = deque()
        self._work: asyncio.Task[None] | None = None

    async def put(self, messages: Sequence[bytes]) -> Answers:
        """Give the answers of these messages, in their order."""
        entry = _Entry(messages)
        self._waiting.append(entry)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._take_all())
        return await entry.answers

    def close(self) -> None:
        """Wait for the group that is worked on."""
        self._thread.shutdown(cancel_futures=True)

    async def _take_all(self) -> None:
        while self._waiting:
            await self._take_group(self._next_group())

    def _next_group(self) -> list[_Entry]:
        group, count = [self._waiting.popleft()], 0
        while self._waiting and (count := count + len(group[-1].messages)) < MOST_IN_GROUP:
            group.append(self._waiting.popleft())
        return group

    async def _take_group(self, group: list[_Entry]) -> None:
        messages = [message for entry in group for message in entry.messages]
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._take, messages)
            rest = iter(answers)
            for entry in group:
                own = [next(rest) for _ in entry.messages]
                if not entry.answers.done():  # its connection is still there
                    entry.answers.set_result(own)
        finally:
            for entry in group:
                entry.answers.cancel()  # of those that have none: their connections end
