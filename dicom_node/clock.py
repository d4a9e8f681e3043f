"""Time is an argument: use cases take a `Clock`, tests hand in a frozen one."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The one real clock: aware, UTC."""
    return datetime.now(UTC)
