"""ROUGE-L as the paper measures it: F-measure of the longest common subsequence, without stemming.

Source: Lin 2004; tokens as in google-research `rouge_score` (lower case, runs of a–z and 0–9).
"""

import re
from collections import defaultdict
from collections.abc import Sequence

_TOKEN = re.compile(r"[a-z0-9]+")


def rouge_l(reference: str, candidate: str) -> float:
    """0 to 1; 0 if either text has no token."""
    expected, found = _tokens(reference), _tokens(candidate)
    common = _common_length(expected, found)
    if common == 0:
        return 0.0
    precision, recall = common / len(found), common / len(expected)
    return 2 * precision * recall / (precision + recall)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence; one bit of `row` for each token of the first.

    Source: Hyyrö 2004, Bit-parallel LCS-length computation revisited.
    """
    places: defaultdict[str, int] = defaultdict(int)
    for index, token in enumerate(first):
        places[token] |= 1 << index
    full = (1 << len(first)) - 1
    row = full
    for token in second:
        hits = row & places[token]
        row = ((row + hits) | (row - hits)) & full
    return len(first) - row.bit_count()
