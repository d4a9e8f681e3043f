"""Cases are drawn as often as promised, never impossible, and a finding has what its kind has."""

from collections import Counter

import pytest

from workers.phantom.case import INDICATIONS, SIDELESS, Case, Finding, Kind, Side, Size, View, Zone, draw_case

CASES = [draw_case(seed) for seed in range(3000)]
SMALL_LEFT_EFFUSION = Finding(Kind.EFFUSION, Side.LEFT, Size.SMALL)


def test_equal_seeds_draw_equal_cases() -> None:
    assert draw_case(7) == CASES[7]


def test_a_quarter_is_healthy_and_no_film_has_more_than_three_findings_beside_dextrocardia() -> None:
    counts = Counter(len([one for one in case.findings if one.kind is not Kind.DEXTROCARDIA]) for case in CASES)

    shares = [counts[n] / len(CASES) for n in range(4)]
    assert shares == pytest.approx([0.25, 0.4, 0.25, 0.1], abs=0.03)
    assert sum(counts.values()) == sum(counts[n] for n in range(4))


def test_kinds_and_sides_are_about_equally_frequent() -> None:
    kinds = Counter(kind for case in CASES for kind in case.kinds)
    sides = Counter(finding.side for case in CASES for finding in case.findings)

    assert min(kinds.values()) > 0.09 * len(CASES)
    assert max(kinds.values()) < 0.22 * len(CASES)
    assert sides[Side.LEFT] / sides[Side.RIGHT] == pytest.approx(1, abs=0.1)


def test_an_eighth_shows_dextrocardia_half_of_it_with_a_mirrored_marker() -> None:
    shown = [case for case in CASES if Kind.DEXTROCARDIA in case.kinds]

    assert len(shown) / len(CASES) == pytest.approx(0.12, abs=0.02)
    assert sum(case.is_mirrored for case in shown) / len(shown) == pytest.approx(0.5, abs=0.1)


def test_half_has_an_indication_and_questions_are_answered_either_way() -> None:
    asked = dict(INDICATIONS)
    answers = [asked[case.indication] in case.kinds for case in CASES if case.indication and asked[case.indication]]

    assert sum(case.indication is not None for case in CASES) / len(CASES) == pytest.approx(0.5, abs=0.04)
    assert 0.3 < sum(answers) / len(answers) < 0.6


def test_effusions_may_be_on_both_sides() -> None:
    both = [case for case in CASES if sum(one.kind is Kind.EFFUSION for one in case.findings) == 2]

    assert len(both) > 0.02 * len(CASES)


@pytest.mark.parametrize("kind", Kind)
def test_a_finding_with_too_much_or_too_little_is_refused(kind: Kind) -> None:
    side = Side.LEFT if kind in SIDELESS else None

    with pytest.raises(ValueError, match="expected"):
        Finding(kind, side)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SMALL_LEFT_EFFUSION, Finding(Kind.PNEUMOTHORAX, Side.LEFT, Size.LARGE)),
        (SMALL_LEFT_EFFUSION, Finding(Kind.CONSOLIDATION, Side.LEFT, zone=Zone.LOWER)),
        (SMALL_LEFT_EFFUSION, SMALL_LEFT_EFFUSION),
        (Finding(Kind.EFFUSION, Side.LEFT, Size.LARGE), Finding(Kind.FRACTURE, Side.LEFT)),
        (Finding(Kind.EFFUSION, Side.RIGHT, Size.LARGE), Finding(Kind.CARDIOMEGALY)),
        (Finding(Kind.CARDIOMEGALY), Finding(Kind.FRACTURE, Side.RIGHT)),
        (Finding(Kind.NODULE, Side.LEFT, Size.SMALL, Zone.MID), Finding(Kind.NODULE, Side.RIGHT, Size.SMALL, Zone.MID)),
    ],
)
def test_findings_that_hide_each_other_are_refused(one: Finding, other: Finding) -> None:
    for findings in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="hide each other"):
            Case(1, findings=findings)


def test_a_lateral_film_shows_an_effusion_or_nothing() -> None:
    assert Case(1, View.LATERAL, (SMALL_LEFT_EFFUSION,)).kinds == {Kind.EFFUSION}
    with pytest.raises(ValueError, match="on a lateral film"):
        Case(1, View.LATERAL, (Finding(Kind.TUBE),))


def test_only_dextrocardia_can_be_a_mirrored_film() -> None:
    with pytest.raises(ValueError, match="expected both"):
        Case(1, is_mirrored=True)
