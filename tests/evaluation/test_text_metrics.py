"""BLEU and ROUGE-L give the published numbers, and those of the packages that the paper used."""

import json
from typing import Any

import numpy as np
import pytest
from films import shared_data

from workers.evaluation import bleu
from workers.evaluation.bootstrap import bootstrap, mean
from workers.evaluation.rouge import rouge_l

# Computed once with sacrebleu 2.6.0 and rouge_score 0.1.2 on these sentences.
REFERENCES = [
    "The heart is normal-sized; no effusion (right).",
    "Tip ends 3.5 cm above the carina, R&amp;L hila are OK.",
]
CANDIDATES = ["Heart size is normal; no effusion.", "The tip ends 3.5 cm above the carina."]
SACREBLEU = [(1, 41.57303362945083), (2, 33.802509595648104), (3, 29.580213969243204), (4, 25.3923545669673)]
SMOOTHED = 15.97357760615681
TOKENS = [
    ("No effusion.", ["No", "effusion", "."]),
    ("3.5-cm nodule, T1-2", ["3.5", "-", "cm", "nodule", ",", "T1", "-", "2"]),
    ("R&amp;L &lt;5%", ["R", "&", "L", "<", "5", "%"]),
    ("x-ray (PA/AP): 1,000.", ["x-ray", "(", "PA", "/", "AP", ")", ":", "1,000", "."]),
    ("It's 'clear'...", ["It's", "'clear'", ".", ".", "."]),
    ("Dr. ___ at 10:15", ["Dr", ".", "_", "_", "_", "at", "10", ":", "15"]),
    ("a-\nb\nc", ["ab", "c"]),
]
ROUGE = [
    ("The heart is normal-sized; no effusion (right).", "Heart size is normal; no effusion.", 0.7142857142857143),
    (
        "Tip ends 3.5 cm above the carina, R&amp;L hila are OK.",
        "The tip ends 3.5 cm above the carina.",
        0.6956521739130435,
    ),
    ("No-change; 3.5 cm NODULE", "no nodule of 3.5 cm", 0.6666666666666666),
    ("Ödem der Lunge", "odem der lunge", 0.6666666666666666),
]


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(shared_data("metrics", "radeval_bleu_rouge.json").read_text())
    return loaded


def test_rouge_l_of_each_pair_is_the_published_one(published: dict[str, Any]) -> None:
    scores = [rouge_l(*pair) for pair in zip(published["refs"], published["hyps"], strict=True)]
    assert scores == published["expected"]["per_sample"]["rougeL"]
    assert round(float(np.mean(scores)), 4) == published["expected"]["detailed"]["rougeL"]


def test_coco_bleu_is_the_published_one_pair_by_pair(published: dict[str, Any]) -> None:
    counts = bleu.count(published["refs"], published["hyps"], tokenize=str.split)
    scores = [bleu.coco(row[None], 4) for row in counts]
    assert scores == pytest.approx(published["expected"]["per_sample"]["bleu"], rel=1e-12)


@pytest.mark.parametrize(("order", "name"), [(1, "bleu_1"), (2, "bleu_2"), (3, "bleu_3"), (4, "bleu")])
def test_coco_bleu_of_the_corpus_is_the_published_one(published: dict[str, Any], order: int, name: str) -> None:
    counts = bleu.count(published["refs"], published["hyps"], tokenize=str.split)
    assert round(bleu.coco(counts, order), 4) == published["expected"]["detailed"][name]


@pytest.mark.parametrize(("order", "expected"), SACREBLEU)
def test_corpus_bleu_is_that_of_sacrebleu(order: int, expected: float) -> None:
    assert bleu.sacrebleu(bleu.count(REFERENCES, CANDIDATES), order) == pytest.approx(expected, rel=1e-12)


def test_an_order_without_a_match_is_smoothed_as_by_sacrebleu() -> None:
    counts = bleu.count(["the lungs are clear today"], ["today clear are lungs the"])
    assert bleu.sacrebleu(counts, 4) == pytest.approx(SMOOTHED, rel=1e-12)
    assert bleu.plain(counts, 4) == 0.0


def test_plain_bleu_is_the_hundredth_of_sacrebleu_where_nothing_is_smoothed() -> None:
    counts = bleu.count(REFERENCES, CANDIDATES)
    assert bleu.plain(counts, 4) == pytest.approx(bleu.sacrebleu(counts, 4) / 100, rel=1e-12)


@pytest.mark.parametrize(("text", "tokens"), TOKENS)
def test_tokens_are_those_of_13a(text: str, tokens: list[str]) -> None:
    assert bleu.tokenize_13a(text) == tokens


@pytest.mark.parametrize(("reference", "candidate", "expected"), ROUGE)
def test_rouge_l_is_that_of_rouge_score(reference: str, candidate: str, expected: float) -> None:
    assert rouge_l(reference, candidate) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("reference", "candidate"), [("", "lungs"), ("lungs", ""), ("", ""), ("a", "b")])
def test_texts_with_nothing_in_common_score_0(reference: str, candidate: str) -> None:
    counts = bleu.count([reference], [candidate])
    assert rouge_l(reference, candidate) == bleu.sacrebleu(counts, 4) == bleu.plain(counts, 4) == 0.0


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = np.random.default_rng(0).normal(10, 2, 400)
    assert bootstrap(rows, mean) == bootstrap(rows, mean)
    assert bootstrap(rows, mean) != bootstrap(rows, mean, seed=4)


def test_the_interval_of_a_mean_is_about_two_standard_errors_on_either_side() -> None:
    rows = np.random.default_rng(0).normal(10, 2, 400)
    estimate = bootstrap(rows, mean, resamples=2000)
    assert estimate.low < estimate.median < estimate.high
    assert estimate.value == pytest.approx(estimate.median, abs=0.02)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * 2 / 20, rel=0.1)


def test_a_single_report_has_an_interval_without_width() -> None:
    estimate = bootstrap(np.array([0.5]), mean)
    assert (estimate.low, estimate.median, estimate.high) == (0.5, 0.5, 0.5)
