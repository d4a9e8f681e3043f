"""Time that counts: within the hours of the days in which somebody sends."""

from collections.abc import Collection
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST = timedelta(days=31)  # longer silence is as long


def working_s(
    since: datetime, until: datetime, *, hours: tuple[int, int], days: Collection[str], zone: ZoneInfo
) -> float:
    """Seconds from `since` to `until` that lie in working hours; 0 if it is the other way round.

    since, until: aware. hours: of the clock in the zone, from 0 to 24.
    """
    since = max(since, until - _LONGEST)
    day, total = since.astimezone(zone).date(), 0.0
    while day <= until.astimezone(zone).date():
        if WEEKDAYS[day.weekday()] in days:
            midnight = datetime.combine(day, time(), zone)
            opens, closes = ((midnight + timedelta(hours=hour)).astimezone(since.tzinfo) for hour in hours)
            total += max(0.0, (min(until, closes) - max(since, opens)).total_seconds())
        day += timedelta(days=1)
    return total
