"""Token buckets, by a timer that is put forward by hand."""

from dicom_node.receive import rate_limit
from dicom_node.receive.rate_limit import RateLimit


class Hand:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_so_many_a_second() -> None:
    timer = Hand()
    limit = RateLimit(10, burst=3, timer=timer)
    assert [limit.allows("a") for _ in range(5)] == [True, True, True, False, False]
    timer.now += 0.1
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    timer.now += 60.0
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_a_steady_rate_below_the_limit_is_never_refused() -> None:
    timer = Hand()
    limit = RateLimit(300, burst=1, timer=timer)
    for _ in range(10_000):
        assert limit.allows("a")
        timer.now += 1 / 300


def test_who_asks_in_vain_waits_no_longer_for_it() -> None:
    timer = Hand()
    limit = RateLimit(1, burst=1, timer=timer)
    assert [limit.allows("a") for _ in range(100)] == [True] + [False] * 99
    timer.now += 1.0
    assert limit.allows("a")


def test_each_key_has_a_bucket_of_its_own() -> None:
    limit = RateLimit(1, burst=1, timer=Hand())
    assert [limit.allows(key) for key in ("a", "b", "a", "b")] == [True, True, False, False]


def test_what_is_remembered_is_bounded_and_the_busy_ones_stay() -> None:
    limit = RateLimit(1, burst=1, timer=Hand())
    for number in range(3 * rate_limit._MOST_KEYS):
        limit.allows(str(number))
        assert limit.allows("busy") is (number == 0)
    assert len(limit._full_at) == rate_limit._MOST_KEYS
