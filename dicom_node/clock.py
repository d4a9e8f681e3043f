"""Time is an argument: use cases take a `Clock`, tests hand in a frozen one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

CLOCKS_DIFFER = timedelta(minutes=5)  # of two machines, at most: what is dated later was dated by one that was wrong


def utc_now() -> datetime:
    """The one real clock: aware, UTC."""
    return datetime.now(UTC)
