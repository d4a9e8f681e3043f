"""How many do the same work at once."""

import threading
from collections.abc import Callable
from typing import Any

_MOMENT_S = 0.3


class Crowd:
    """Does the work in its place; who comes first waits a moment for the others."""

    def __init__(self, work: Callable[..., Any], *, expected: int) -> None:
        self._work = work
        self._expected = expected
        self._all_are_here = threading.Event()
        self._lock = threading.Lock()
        self._inside = 0
        self.largest = 0

    def __call__(self, *arguments: Any) -> Any:
        with self._lock:
            self._inside += 1
            self.largest = max(self.largest, self._inside)
            if self._inside == self._expected:
                self._all_are_here.set()
        self._all_are_here.wait(_MOMENT_S)
        try:
            return self._work(*arguments)
        finally:
            with self._lock:
                self._inside -= 1
