"""Shares and medians of a sample, and between what the true ones lie with 95 % confidence."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_Z = 1.96  # 95 % of a normal distribution
_FEWEST = 6  # values that the median of all lies between with 95 % confidence: 1 - 2 / 2**6


@dataclass(frozen=True)
class Share:
    """`part` of `whole`, and between what the true share lies with 95 % confidence."""

    part: int
    whole: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.part} of {self.whole}, 95 % CI {self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Median:
    """The middle of a sample of shares, and between what that of all lies with 95 % confidence."""

    value: float
    low: float
    high: float


def share(part: int, whole: int) -> Share:
    """With Wilson's interval. 0 of 0 may be anything."""
    if not whole:
        return Share(0, 0, math.nan, 0.0, 1.0)
    p, spread = part / whole, _Z * _Z / whole
    middle, half = p + spread / 2, _Z * math.sqrt(p * (1 - p) / whole + spread / (4 * whole))
    return Share(part, whole, p, (middle - half) / (1 + spread), (middle + half) / (1 + spread))


def median(values: Iterable[float]) -> Median | None:
    """Of values from 0 to 1, with the interval of order statistics, which assumes nothing of how they are spread.

    Of fewer than six values it may be any: from the least to the largest would be surer than they are. None of none.
    Source: Conover, Practical Nonparametric Statistics, 3.2.
    """
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        return None
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    if count < _FEWEST:
        return Median(middle, 0.0, 1.0)
    reach = _Z * math.sqrt(count) / 2  # ranks to each side
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return Median(middle, ordered[max(low - 1, 0)], ordered[min(high, count - 1)])
