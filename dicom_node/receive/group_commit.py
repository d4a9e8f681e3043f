"""One commit for all that wait: leader and followers, no thread of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Calls `commit` with everything that came while the last call ran, and gives each caller its result.

    The first that comes leads: it commits for all that wait. Whoever comes meanwhile waits, and the first of those
    leads the next group. A group that fails is committed one by one, so that an item fails for its own faults only.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._waiting: list[_Entry[Item, Result]] = []
        self._has_leader = False

    def add(self, item: Item) -> Result:
        """Return the item's result when it is committed; raises what `commit` raised for it."""
        entry = _Entry[Item, Result](item)
        with self._lock:
            self._waiting.append(entry)
            leads, self._has_leader = not self._has_leader, True
        if not leads:
            entry.calling.acquire()
        if not entry.is_settled:
            self._lead()
        if entry.error is not None:
            raise entry.error
        return cast(Result, entry.result)

    def _lead(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        self._settle(group)
        with self._lock:
            following = self._waiting[:1]
            self._has_leader = bool(following)
        for entry in (*following, *group):
            entry.calling.release()

    def _settle(self, group: "list[_Entry[Item, Result]]") -> None:
        try:
            results = self._commit([entry.item for entry in group])
        except Exception as error:  # noqa: BLE001  raised again in the thread that it belongs to
            if len(group) == 1:
                group[0].is_settled, group[0].error = True, error
                return
            for entry in group:
                self._settle([entry])
            return
        for entry, result in zip(group, results, strict=True):
            entry.is_settled, entry.result = True, result


class _Entry(Generic[Item, Result]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.is_settled = False
        self.result: Result | None = None
        self.error: Exception | None = None
        # Released when it is settled or leads. A lock, because an Event takes ten times as long to make.
        self.calling = threading.Lock()
        self.calling.acquire()
