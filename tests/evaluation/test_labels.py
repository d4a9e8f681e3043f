"""Label F1, RadGraph F1 and what is said where their weights are lacking."""

import numpy as np
import pytest

from dicom_node.errors import Permanent
from workers.evaluation.labels import (
    BLANK,
    FIVE,
    LABELS,
    NEGATIVE,
    POSITIVE,
    UNCERTAIN,
    Labels,
    as_labels,
    label_f1,
    macro_f1,
    micro_f1,
    outcomes,
)
from workers.evaluation.scorers import Lack, find_extractor, find_labeller, radgraph_f1


def labels(*reports: dict[str, int]) -> Labels:
    return as_labels([[report.get(name, BLANK) for name in LABELS] for report in reports])


REFERENCE = labels({"Edema": POSITIVE, "Cardiomegaly": POSITIVE}, {"Edema": POSITIVE}, {"Fracture": POSITIVE})
CANDIDATE = labels({"Edema": POSITIVE, "Pneumonia": POSITIVE}, {"Edema": NEGATIVE}, {"Fracture": POSITIVE})


def test_f1_of_each_label_is_twice_the_hits_by_all_claims() -> None:
    f1 = dict(zip(LABELS, label_f1(outcomes(REFERENCE, CANDIDATE)), strict=True))
    # Edema: 1 hit, 1 miss; Fracture: 1 hit; Cardiomegaly: 1 miss; Pneumonia: 1 false alarm
    assert f1["Edema"] == pytest.approx(2 / 3)
    assert (f1["Fracture"], f1["Cardiomegaly"], f1["Pneumonia"], f1["No Finding"]) == (1.0, 0.0, 0.0, 0.0)


def test_micro_f1_pools_all_labels() -> None:
    assert micro_f1(outcomes(REFERENCE, CANDIDATE)) == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))


def test_macro_f1_is_the_mean_of_all_labels_those_without_a_case_included() -> None:
    assert macro_f1(outcomes(REFERENCE, CANDIDATE)) == pytest.approx((2 / 3 + 1) / 14)


def test_five_labels_leave_the_others_out() -> None:
    rows = outcomes(REFERENCE, CANDIDATE, FIVE)
    assert rows.shape == (3, 3, 5)
    assert micro_f1(rows) == pytest.approx(2 / (2 + 0 + 2))
    assert macro_f1(rows) == pytest.approx((2 / 3) / 5)


def test_uncertain_counts_as_negative() -> None:
    rows = outcomes(labels({"Edema": UNCERTAIN}), labels({"Edema": POSITIVE}))
    assert rows.sum(axis=(0, 2)).tolist() == [0, 1, 0]


def test_nothing_positive_anywhere_scores_0() -> None:
    rows = outcomes(labels({}), labels({}))
    assert micro_f1(rows) == macro_f1(rows) == 0.0


@pytest.mark.parametrize("row", [[0] * 13, [0] * 15, [4] + [0] * 13, [-1] + [0] * 13])
def test_a_vector_that_is_not_14_classes_is_refused_by_its_number(row: list[int]) -> None:
    with pytest.raises(Permanent, match="label vector 2"):
        as_labels([[0] * 14, row])


def test_radgraph_f1_is_that_of_the_sets_of_entities() -> None:
    small, effusion, heart = ("small", "OBS-DP", True), ("effusion", "OBS-DP", False), ("heart", "ANAT-DP", True)
    reference = [frozenset({small, effusion}), frozenset({heart}), frozenset()]
    candidate = [frozenset({small, heart, ("effusion", "OBS-DP", True)}), frozenset({heart}), frozenset()]
    assert radgraph_f1(reference, candidate).tolist() == [pytest.approx(2 / 5), 1.0, 0.0]


@pytest.mark.parametrize(
    ("found", "weights"), [(find_labeller(), "chexbert.pth"), (find_extractor(), "radgraph.tar.gz")]
)
def test_a_scorer_that_is_not_installed_says_which_weights_it_lacks(found: object, weights: str) -> None:
    assert isinstance(found, Lack)
    assert weights in found.sentence
    assert found.sentence.count(". ") == 0  # one sentence


def test_a_plug_in_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class _Plugin:
        def label(self, texts: list[str]) -> Labels:
            return np.zeros((len(texts), 14), dtype=np.int8)

    class _EntryPoint:
        @staticmethod
        def load() -> type[_Plugin]:
            return _Plugin

    monkeypatch.setattr("workers.evaluation.scorers.entry_points", lambda **_: [_EntryPoint])
    assert isinstance(find_labeller(), _Plugin)
