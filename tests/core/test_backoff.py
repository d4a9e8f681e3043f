from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.backoff import next_due

NOW = datetime(2026, 8, 1, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(1, 10), (2, 20), (3, 40), (7, 640), (8, 1280), (9, 1800), (10, 1800), (100, 1800)]
)
def test_wait_doubles_up_to_the_longest(attempts: int, wait_s: float) -> None:
    assert next_due(attempts, NOW, first_s=10, longest_s=1800) == NOW + timedelta(seconds=wait_s)


@pytest.mark.parametrize("attempts", [2_000, 10**9])
def test_endless_attempts_do_not_overflow(attempts: int) -> None:
    assert next_due(attempts, NOW, first_s=0.001, longest_s=60) == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("attempts", [0, -1])
def test_a_count_below_one_waits_as_after_the_first(attempts: int) -> None:
    assert next_due(attempts, NOW, first_s=10, longest_s=60) == NOW + timedelta(seconds=10)


def test_equal_arguments_give_an_equal_time() -> None:
    assert next_due(5, NOW, first_s=1.5, longest_s=60) == next_due(5, NOW, first_s=1.5, longest_s=60)


def test_a_first_wait_above_the_longest_is_cut() -> None:
    assert next_due(1, NOW, first_s=90, longest_s=60) == NOW + timedelta(seconds=60)
