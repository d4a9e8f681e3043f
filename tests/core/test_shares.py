"""Intervals of what is counted and measured."""

from random import Random

import pytest

from dicom_node.shares import Median, median, share


def test_a_median_of_few_may_be_anything() -> None:
    assert median([]) is None
    assert median([0.5]) == Median(0.5, 0.0, 1.0)
    assert median([0.4, 0.1, 0.2, 0.3]) == Median(0.25, 0.0, 1.0)
    assert median([0.4, 0.1, 0.2, 0.3, 0.5, 0.6]) == Median(0.35, 0.1, 0.6)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 8, 50, 300])
def test_the_true_median_lies_in_the_interval_in_95_of_100_samples(size: int) -> None:
    random = Random(1)
    found = [median(random.random() for _ in range(size)) for _ in range(2_000)]
    held = sum(each is not None and each.low <= 0.5 <= each.high for each in found)
    assert held / 2_000 >= 0.94


def test_a_share_of_nothing_may_be_anything() -> None:
    nothing = share(0, 0)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
