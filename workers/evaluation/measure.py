"""Which numbers are taken of the pairs, in the order of the table."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from workers.evaluation import bleu
from workers.evaluation.bootstrap import Estimate, bootstrap, mean
from workers.evaluation.chexprompt import ErrorCounts, sum_by_type
from workers.evaluation.judge import Rating
from workers.evaluation.labels import FIVE, LABELS, Labels, as_labels, label_f1, macro_f1, micro_f1, outcomes
from workers.evaluation.predictions import Pair, have_labels
from workers.evaluation.results import Judgement, Metric
from workers.evaluation.scorers import Lack, find_extractor, find_labeller, radgraph_f1

_PERCENT = 100.0
_PER_MILLION = 1e-6
LabelPair = tuple[Labels, Labels]  # reference, candidate


def measure_rouge(scores: NDArray[np.float64]) -> Metric:
    """scores: (N,), 0 to 1, of each pair."""
    return _metric("ROUGE-L", bootstrap(scores, mean).scaled(_PERCENT), "rouge_score, F-measure, no stemming")


def measure_bleu(pairs: Sequence[Pair]) -> list[Metric]:
    """BLEU-1 and BLEU-4 as the paper, and BLEU-4 as RadEval."""
    counts = bleu.count(*_texts(pairs))
    words = bleu.count(*_texts(pairs), tokenize=str.split)
    return [
        *(_bleu(f"BLEU-{n}", counts, partial(bleu.sacrebleu, order=n), "sacrebleu, 13a, corpus") for n in (1, 4)),
        _bleu("BLEU-4 (RadEval)", words, lambda rows: _PERCENT * bleu.coco(rows, 4), "COCO captions, words, corpus"),
    ]


def find_labels(pairs: Sequence[Pair]) -> LabelPair | Lack:
    """The file's own label vectors, else those of the CheXbert plug-in."""
    if have_labels(pairs):
        reference = as_labels([pair.reference_labels for pair in pairs])
        return reference, as_labels([pair.candidate_labels for pair in pairs])
    labeller = find_labeller()
    if isinstance(labeller, Lack):
        return labeller
    references, candidates = _texts(pairs)
    return labeller.label(references), labeller.label(candidates)


def measure_labels(labels: LabelPair) -> list[Metric]:
    """Micro and macro F1 of 14 and 5 labels."""
    found = []
    for names in (LABELS, FIVE):
        rows = outcomes(*labels, names)
        for kind, statistic in (("micro", micro_f1), ("macro", macro_f1)):
            estimate = bootstrap(rows, statistic).scaled(_PERCENT)
            found.append(_metric(f"Label F1-{len(names)} {kind}", estimate, "CheXpert labels, uncertain as negative"))
    return found


def f1_by_label(labels: LabelPair) -> dict[str, float]:
    """For the picture; only labels that occur on either side."""
    rows = outcomes(*labels)
    seen = rows.sum(axis=(0, 1)) > 0
    return {name: float(f1) for name, f1, is_seen in zip(LABELS, label_f1(rows), seen, strict=True) if is_seen}


def measure_radgraph(pairs: Sequence[Pair]) -> Metric | Lack:
    """By the RadGraph plug-in."""
    extractor = find_extractor()
    if isinstance(extractor, Lack):
        return extractor
    references, candidates = (extractor.extract(texts) for texts in _texts(pairs))
    estimate = bootstrap(radgraph_f1(references, candidates), mean).scaled(_PERCENT)
    return _metric("F1-RadGraph", estimate, "reward partial, mean of reports")


def judgement(model: str, ratings: Sequence[Rating], prices_usd: tuple[float, float]) -> Judgement:
    """prices_usd: of a million prompt tokens and of a million completion tokens."""
    errors = [counts for rating in ratings for counts in rating.errors]
    prompt_tokens = sum(rating.prompt_tokens for rating in ratings)
    completion_tokens = sum(rating.completion_tokens for rating in ratings)
    return Judgement(
        model=model,
        rated=len(errors),
        unrated=dict(Counter(rating.reason for rating in ratings if not rating.errors)),
        mean_errors=_mean_errors(errors, lambda counts: counts.total),
        mean_significant=_mean_errors(errors, lambda counts: sum(counts.significant)),
        sums=sum_by_type(errors),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=_PER_MILLION * (prompt_tokens * prices_usd[0] + completion_tokens * prices_usd[1]),
    )


def _mean_errors(errors: Sequence[ErrorCounts], number: Callable[[ErrorCounts], int]) -> Estimate:
    # In the order of size: ratings arrive in any order, and the interval must not depend on it.
    return bootstrap(np.array(sorted(map(number, errors)), dtype=np.float64), mean)


def _metric(name: str, estimate: Estimate, note: str) -> Metric:
    return Metric(name, estimate, estimate.median, note)


def _bleu(name: str, counts: bleu.Counts, statistic: Callable[[bleu.Counts], float], note: str) -> Metric:
    estimate = bootstrap(counts, statistic)
    return Metric(name, estimate, estimate.value, note)


def _texts(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [pair.reference for pair in pairs], [pair.candidate for pair in pairs]
