"""BLEU in the three conventions that radiology papers print, from one set of counts.

The paper's table is `sacrebleu`; its script without bootstrap prints `plain`; RadEval prints `coco`. They differ by
several points on the same texts, so a BLEU without its convention says little.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 4
# One row for each pair: candidate's length, reference's length, matches of order 1 to 4, n-grams of order 1 to 4.
Counts = NDArray[np.int64]
Tokenizer = Callable[[str], list[str]]

# The tokens of NIST mteval-v13a, in its order: entities, symbols, then full stops and commas that are not inside of
# numbers, then a dash after a digit.
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_RULES = tuple(
    (re.compile(pattern), spaced)
    for pattern, spaced in (
        (r"([!-&(-+/:-@\[-`{-~])", r" \1 "),
        (r"([^0-9])([.,])", r"\1 \2 "),
        (r"([.,])([^0-9])", r" \1 \2"),
        (r"([0-9])(-)", r"\1 \2 "),
    )
)
_COCO_TINY, _COCO_SMALL = 1e-15, 1e-9


def count(references: Sequence[str], candidates: Sequence[str], tokenize: Tokenizer | None = None) -> Counts:
    """(N, 10); rows add up to the counts of a corpus. Tokens are those of 13a unless said otherwise."""
    cut = tokenize or tokenize_13a
    rows = [_count(cut(reference), cut(candidate)) for reference, candidate in zip(references, candidates, strict=True)]
    return np.array(rows, dtype=np.int64).reshape(-1, 2 + 2 * MAX_ORDER)


def sacrebleu(counts: Counts, order: int) -> float:
    """Corpus BLEU, 0 to 100, of 13a tokens; an order without a match is smoothed exponentially.

    Source: Post 2018 (sacrebleu's defaults); NIST mteval smoothing.
    """
    length, reference_length, matches, totals = _sums(counts, order)
    if not matches.any() or not totals.all():
        return 0.0
    logs, halvings = 0.0, 0
    for match, total in zip(matches, totals, strict=True):
        halvings += match == 0
        logs += math.log(match / total if match else 1 / (2**halvings * total))
    return 100 * _brevity(length, reference_length) * math.exp(logs / order)


def plain(counts: Counts, order: int) -> float:
    """Corpus BLEU, 0 to 1, of 13a tokens, without smoothing: 0 if an order has no match.

    Source: Papineni 2002, as the `bleu` of Hugging Face evaluate.
    """
    length, reference_length, matches, totals = _sums(counts, order)
    if not matches.all() or not totals.all():
        return 0.0
    return _brevity(length, reference_length) * math.exp(float(np.log(matches / totals).mean()))


def coco(counts: Counts, order: int) -> float:
    """Corpus BLEU, 0 to 1, of words between spaces, with the tiny constants of the COCO caption evaluation."""
    length, reference_length, matches, totals = _sums(counts, order)
    precisions = (matches + _COCO_TINY) / (totals + _COCO_SMALL)
    ratio = (length + _COCO_TINY) / (reference_length + _COCO_SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return brevity * math.pow(precisions.prod(), 1 / order)


def tokenize_13a(text: str) -> list[str]:
    """Source: NIST mteval-v13a."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for rule, spaced in _RULES:
        text = rule.sub(spaced, text)
    return text.split()


def _count(reference: Sequence[str], candidate: Sequence[str]) -> list[int]:
    orders = range(1, MAX_ORDER + 1)
    matches = [(_grams(reference, order) & _grams(candidate, order)).total() for order in orders]
    totals = [max(0, len(candidate) - order + 1) for order in orders]
    return [len(candidate), len(reference), *matches, *totals]


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    shifted: Iterable[Sequence[str]] = (tokens[start:] for start in range(order))
    return Counter(zip(*shifted, strict=False))


def _sums(counts: Counts, order: int) -> tuple[int, int, Counts, Counts]:
    sums = counts.sum(axis=0)
    return int(sums[0]), int(sums[1]), sums[2 : 2 + order], sums[2 + MAX_ORDER : 2 + MAX_ORDER + order]


def _brevity(length: int, reference_length: int) -> float:
    if length >= reference_length:
        return 1.0
    return math.exp(1 - reference_length / length) if length else 0.0
