"""How often somebody may do something: a token bucket for each key, in bounded memory."""

import threading
import time
from collections.abc import Callable

_MOST_KEYS = 10_000


class RateLimit:
    """So many a second for each key, after a burst of so many at once. Any thread may ask."""

    def __init__(self, per_s: float, *, burst: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 1 / per_s
        self._longest_debt_s = (burst - 0.5) * self._interval_s  # a half: so that rounding takes no token away
        self._timer = timer
        self._lock = threading.Lock()
        # When the key's bucket is full again. In the order of the last question, so that what is forgotten, when there
        # are too many, was full the longest.
        self._full_at: dict[str, float] = {}

    def allows(self, key: str) -> bool:
        """Take a token of the key, if one is left."""
        with self._lock:
            now = self._timer()
            full_at = max(now, self._full_at.pop(key, now))
            is_allowed = full_at - now < self._longest_debt_s
            self._full_at[key] = full_at + self._interval_s if is_allowed else full_at
            if len(self._full_at) > _MOST_KEYS:
                del self._full_at[next(iter(self._full_at))]
            return is_allowed
