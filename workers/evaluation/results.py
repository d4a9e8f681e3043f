"""What an evaluation found, and its JSON form. No report's text is in it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from workers.evaluation.bootstrap import RESAMPLES, SEED, Estimate
from workers.evaluation.chexprompt import NOT_COMPARABLE, ErrorType
from workers.evaluation.retrieval import Retrieval
from workers.evaluation.scorers import Lack


@dataclass(frozen=True)
class Metric:
    """One line of the table. `shown` is the number that the paper prints: the median, for BLEU the corpus score."""

    name: str
    estimate: Estimate
    shown: float
    note: str


@dataclass(frozen=True)
class Judgement:
    """CheXprompt over all pairs. Sums are of the rated pairs; `unrated` counts by reason."""

    model: str
    rated: int
    unrated: dict[str, int]
    mean_errors: Estimate
    mean_significant: Estimate
    sums: dict[str, dict[ErrorType, int]]
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


@dataclass(frozen=True)
class Evaluation:
    """Everything that is printed, written and drawn. Empty tuples where something was not measured."""

    name: str
    sha256: str
    pairs: int
    empty_candidates: int
    metrics: tuple[Metric, ...]
    rouge_l: NDArray[np.float64]  # (N,) 0 to 1
    label_f1: dict[str, float]  # by label, 0 to 1
    lacks: tuple[Lack, ...]
    judgement: tuple[Judgement, ...]
    retrieval: dict[str, Retrieval]  # by direction


def to_json(evaluation: Evaluation) -> dict[str, object]:
    """Plain values, for json.dumps."""
    return {
        "predictions": {"name": evaluation.name, "sha256": evaluation.sha256, "pairs": evaluation.pairs},
        "empty_candidates": evaluation.empty_candidates,
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "interval": "95 % percentile"},
        "metrics": [asdict(metric) for metric in evaluation.metrics],
        "label_f1": evaluation.label_f1,
        "not_measured": [lack.sentence for lack in evaluation.lacks],
        "chexprompt": [{**asdict(each), "note": NOT_COMPARABLE} for each in evaluation.judgement],
        "retrieval": {direction: asdict(found) for direction, found in evaluation.retrieval.items()},
    }


def rows(evaluation: Evaluation) -> Sequence[tuple[str, str, str, str]]:
    """The table: metric, value, 95 % interval, note."""
    found = [(m.name, f"{m.shown:.1f}", _interval(m.estimate, 1), m.note) for m in evaluation.metrics]
    for judgement in evaluation.judgement:
        found += _judgement_rows(judgement)
    for direction, retrieval in evaluation.retrieval.items():
        found += _retrieval_rows(direction, retrieval)
    return found


def _judgement_rows(judgement: Judgement) -> list[tuple[str, str, str, str]]:
    spent = f"{judgement.prompt_tokens + judgement.completion_tokens:,} tokens, {judgement.cost_usd:.2f} USD"
    unrated = sum(judgement.unrated.values())
    rated = f"{judgement.rated} rated" + (f", {unrated} without a usable answer" if unrated else "")
    significant, total = judgement.mean_significant, judgement.mean_errors
    return [
        ("CheXprompt errors per report", f"{total.median:.2f}", _interval(total, 2), f"{judgement.model}: {rated}"),
        ("  of them significant", f"{significant.median:.2f}", _interval(significant, 2), spent),
    ]


def _retrieval_rows(direction: str, found: Retrieval) -> list[tuple[str, str, str, str]]:
    ranks = f"rank: mean {found.mean_rank:.1f}, median {found.median_rank:g}"
    shares = " / ".join(f"{100 * share:.1f}" for share in found.recall.values())
    depths = "/".join(str(depth) for depth in found.recall)
    return [(f"{direction} R@{depths}", shares, "", ranks)]


def _interval(estimate: Estimate, digits: int) -> str:
    return f"{estimate.low:.{digits}f} – {estimate.high:.{digits}f}"
