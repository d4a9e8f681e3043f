"""How sure a figure is: the same statistic of many samples drawn from the reports with replacement."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As the paper: 500 resamples, 95 %, seed 3.
RESAMPLES, SEED = 500, 3
_PERCENTILES = (2.5, 50.0, 97.5)
Rows = NDArray[Any]  # (N, …): whatever a statistic needs to know of each report
Statistic = Callable[[Rows], float]


@dataclass(frozen=True)
class Estimate:
    """A statistic of all reports, and median and 95 % interval of the resamples."""

    value: float
    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit."""
        return Estimate(self.value * factor, self.median * factor, self.low * factor, self.high * factor)


def bootstrap(rows: Rows, statistic: Statistic, *, seed: int = SEED, resamples: int = RESAMPLES) -> Estimate:
    """rows: (N, …), N ≥ 1. The same rows and seed give the same numbers; the paper's generator is not known to us."""
    random = np.random.default_rng(seed)
    values = [statistic(rows[random.integers(0, len(rows), len(rows))]) for _ in range(resamples)]
    low, median, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return Estimate(statistic(rows), median, low, high)


def mean(rows: Rows) -> float:
    """The statistic of what is measured report by report."""
    return float(rows.mean())
