"""Wildcards, and when one pattern takes all that another does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.wildcards import covers, is_like


@pytest.mark.parametrize(
    ("value", "pattern", "is_matched"),
    [
        ("ER_1", "ER_*", True),
        ("er_1", "ER_*", True),
        ("ER_", "ER_*", True),
        ("XER_1", "ER_*", False),
        ("CHEST PORTABLE", "*port*", True),
        ("ROOM1", "ROOM?", True),
        ("ROOM", "ROOM?", False),
        ("ROOM12", "ROOM?", False),
        ("A[1]", "A[1]", True),
        ("A1", "A[1]", False),
        ("two\nlines", "two*", True),
        ("ÜBERSICHT", "übersicht", True),
        ("CR", "CR\n", False),
    ],
)
def test_a_pattern_matches_the_whole_value_whatever_the_capitals(value: str, pattern: str, is_matched: bool) -> None:
    assert is_like(value, pattern) is is_matched


def test_a_long_value_is_no_trouble_for_many_wildcards() -> None:
    assert not is_like("a" * 256, "*a" * 30 + "*b")


@pytest.mark.parametrize(
    ("pattern", "other", "is_covered"),
    [
        ("*", "*", True),
        ("*", "ER_*", True),
        ("ER_*", "*", False),
        ("er_*", "ER_1*", True),
        ("A?", "AB", True),
        ("AB", "A?", False),
        ("A*", "A?", True),
        ("A?", "A*", False),
        ("?*", "*?", True),
        ("?*", "*", False),
        ("*a*", "*a*b*", True),
        ("*ab*", "*a*b*", False),
        ("ER_1", "ER_2", False),
    ],
)
def test_a_pattern_covers_another_that_matches_nothing_else(pattern: str, other: str, is_covered: bool) -> None:
    assert covers(pattern, other) is is_covered


PATTERNS = st.text("ab*?", max_size=6)


@given(PATTERNS, PATTERNS, st.lists(st.text("abc", max_size=3), min_size=6, max_size=6))
def test_what_is_covered_is_matched_whatever_stands_for_the_wildcards(
    pattern: str, other: str, fillings: list[str]
) -> None:
    fill = iter(fillings)
    value = re.sub(r"[*?]", lambda sign: next(fill) if sign[0] == "*" else (next(fill) or "c")[0], other)
    assert is_like(value, other)
    if covers(pattern, other):
        assert is_like(value, pattern)
