"""What is written can be read back: every finding with its side, every absence as an absence."""

import re
from dataclasses import replace

import pytest

from workers.phantom.case import Case, Finding, Kind, Side, Size, View, draw_case
from workers.phantom.reading import read_findings
from workers.phantom.words import write_findings

CASES = [draw_case(seed) for seed in range(2000)]
EFFUSION, PNEUMOTHORAX, NODULE = Kind.EFFUSION, Kind.PNEUMOTHORAX, Kind.NODULE


def test_reading_is_the_inverse_of_writing() -> None:
    for case in CASES:
        assert read_findings(write_findings(case)) == {(one.kind, one.side) for one in case.findings}, case


def test_equal_cases_give_equal_words() -> None:
    assert write_findings(draw_case(5)) == write_findings(CASES[5])


def test_a_report_keeps_to_one_manner_of_speaking() -> None:
    """What else it says must not change how it says it: a model would have to guess."""
    manners = {
        ("The heart is normal in size", "The lungs are clear", "The bones are intact."),
        ("The cardiac silhouette is normal in size", "The lungs are well expanded", "No acute osseous abnormality"),
        ("Heart size is normal", "Both lungs are clear", "Visualized osseous structures"),
    }
    for report in (write_findings(Case(seed)) for seed in range(60)):
        assert [sum(each in report for each in manner) for manner in manners].count(3) == 1
        assert sum(each in report for manner in manners for each in manner) == 3


def test_vocabulary_is_small_and_reports_are_short() -> None:
    reports = [write_findings(case) for case in CASES]

    assert len({word for report in reports for word in re.findall(r"[A-Za-z]+", report)}) < 250
    assert not any(re.search(r"\d|None", report) for report in reports)
    assert all(14 <= len(report.split()) <= 75 and report.endswith(".") for report in reports)


def test_absence_of_fluid_air_and_consolidation_is_always_said() -> None:
    for report in map(write_findings, CASES):
        assert {"effusion", "effusions"} & set(re.findall(r"\w+", report))
        assert "pneumothorax" in report.lower()


@pytest.mark.parametrize(
    ("indication", "word"),
    [
        ("Fall, rule out rib fracture", "fracture"),
        ("Line placement, rule out pneumothorax", "pneumothorax"),
        ("Fever and cough, evaluate for pneumonia", "pneumonia"),
        ("EFFUSION?", "effusion"),
        ("Respiratory failure, evaluate tube position", "tube"),
    ],
)
def test_the_question_is_answered_first_and_once(indication: str, word: str) -> None:
    for case in CASES[:200]:
        first, *others = write_findings(replace(case, indication=indication)).lower().split(". ")

        assert word in first
        assert word == "pneumonia" or not any(word in other for other in others)


def test_a_lateral_film_has_no_report() -> None:
    with pytest.raises(ValueError, match="expected a frontal one"):
        write_findings(Case(1, View.LATERAL))


def test_unequal_effusions_are_told_apart() -> None:
    sizes = {Side.RIGHT: Size.LARGE, Side.LEFT: Size.SMALL}
    case = Case(1, findings=tuple(Finding(EFFUSION, side, size) for side, size in sizes.items()))

    assert "large on the right and small on the left" in write_findings(case)


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("", set()),
        ("The the right of lung; and left.", set()),
        ("No right pneumothorax.", set()),
        ("A left pneumothorax is not seen.", set()),
        ("There is a large right pleural effusion without pneumothorax.", {(EFFUSION, Side.RIGHT)}),
        ("No pneumothorax, but a left pleural effusion.", {(EFFUSION, Side.LEFT)}),
        ("No effusion or consolidation. Left nodule", {(NODULE, Side.LEFT)}),
        ("Right and left pleural effusions.", {(EFFUSION, Side.RIGHT), (EFFUSION, Side.LEFT)}),
        ("Pleural effusions on both sides.", {(EFFUSION, Side.RIGHT), (EFFUSION, Side.LEFT)}),
        ("There is a pleural effusion.", {(EFFUSION, None)}),
        ("Right effusion and left pneumothorax.", {(EFFUSION, Side.RIGHT), (PNEUMOTHORAX, Side.LEFT)}),
        ("A mass in the left lung and a right effusion.", {(NODULE, Side.LEFT), (EFFUSION, Side.RIGHT)}),
        ("The heart is not enlarged. Heart size is normal.", set()),
        ("The heart is mildly enlarged", {(Kind.CARDIOMEGALY, None)}),
    ],
)
def test_sentences_of_other_hands_are_read_too(text: str, claims: set[tuple[Kind, Side | None]]) -> None:
    assert read_findings(text) == claims
