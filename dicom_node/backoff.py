"""When something that failed is due again."""

from datetime import datetime, timedelta

# Beyond this many doublings every sensible limit is reached, and the power would no longer fit a float.
_MOST_DOUBLINGS = 60


def next_due(attempts: int, now: datetime, *, first_s: float, longest_s: float) -> datetime:
    """Wait `first_s` after the first attempt, twice as long after each further one, never longer than `longest_s`.

    attempts: how often it was tried so far, at least 1. Equal arguments give an equal time: no jitter, since each
    destination is served one thing at a time and there is no herd to scatter.
    """
    doublings = min(max(attempts - 1, 0), _MOST_DOUBLINGS)
    return now + timedelta(seconds=min(first_s * 2**doublings, longest_s))
