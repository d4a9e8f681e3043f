"""What a rule asks for, and what of the answers it takes."""

from datetime import date

import pytest
from pydantic import ValidationError

from dicom_node.config import Settings
from dicom_node.peers import DicomSource, PullRule
from dicom_node.pull.query import Answer, FoundStudy, Level
from dicom_node.pull.rules import studies_by_rule

TODAY = date(2026, 3, 1)


class Source:
    """Answers the same to all questions, and remembers them."""

    def __init__(self, *studies: Answer, series: tuple[str, ...] = (), counts: tuple[str, ...] = ()) -> None:
        """series: their modalities. counts: how many objects they have, each with the images A, A and B."""
        self.studies, self.series, self.counts = list(studies), series, counts
        self.asked: list[tuple[Level, Answer]] = []

    def __call__(self, level: Level, keys: Answer) -> list[Answer]:
        self.asked.append((level, keys))
        if level == "STUDY":
            return self.studies
        if "Modality" in keys:
            return [{"Modality": each} for each in self.series]
        if level == "IMAGE":
            return [{"SOPInstanceUID": each} for each in ("A", "A", "B", "")]
        return [
            {"SeriesInstanceUID": f"1.2.3.{number}", "NumberOfSeriesRelatedInstances": count}
            for number, count in enumerate(self.counts)
        ]


def study(uid: str = "1.2.3", **values: str) -> Answer:
    base = {"StudyDate": "20260301", "ModalitiesInStudy": "DX", "NumberOfStudyRelatedInstances": "2"}
    return {"StudyInstanceUID": uid, **base, **values}


def test_each_modality_is_asked_for_and_a_study_of_both_is_found_once() -> None:
    source = Source(study(ModalitiesInStudy="CR\\DX"))
    assert studies_by_rule(source, PullRule(days=2), TODAY) == [FoundStudy("1.2.3", 2)]
    assert [keys["ModalitiesInStudy"] for _, keys in source.asked] == ["CR", "DX"]
    assert {keys["StudyDate"] for _, keys in source.asked} == {"20260227-"}


@pytest.mark.parametrize(
    ("day", "is_wanted"),
    [("20260227", True), ("20260226", False), ("20260302", True), ("", False), ("2026.03.01", False)],
)
def test_a_study_older_than_the_rule_or_of_no_date_is_left(day: str, is_wanted: bool) -> None:
    rule = PullRule(days=2, modalities=("DX",))
    assert bool(studies_by_rule(Source(study(StudyDate=day)), rule, TODAY)) is is_wanted


@pytest.mark.parametrize(
    ("counts", "count", "levels"),
    [
        ((), 0, ["SERIES"]),
        (("3", "1"), 4, ["SERIES"]),
        (("3", ""), 5, ["SERIES", "IMAGE"]),
        (("", "many"), 4, ["SERIES", "IMAGE", "IMAGE"]),
    ],
)
def test_the_series_are_asked_for_their_objects_where_the_study_does_not_say_its_number(
    counts: tuple[str, ...], count: int, levels: list[Level]
) -> None:
    source = Source(study(ModalitiesInStudy="CR\\DX", NumberOfStudyRelatedInstances=""), counts=counts)
    assert studies_by_rule(source, PullRule(), TODAY) == [FoundStudy("1.2.3", count)]
    assert [level for level, _ in source.asked] == ["STUDY", *levels, "STUDY"]


@pytest.mark.parametrize(("series", "is_wanted"), [(("SR", "DX"), True), (("CT",), False), ((), False)])
def test_the_series_are_asked_where_the_study_does_not_say_its_modalities(
    series: tuple[str, ...], is_wanted: bool
) -> None:
    source = Source(study(ModalitiesInStudy=""), series=series)
    assert bool(studies_by_rule(source, PullRule(modalities=("DX",)), TODAY)) is is_wanted
    assert [level for level, _ in source.asked] == ["STUDY", "SERIES"]


@pytest.mark.parametrize(
    ("wanted", "value", "is_wanted"),
    [
        ("CHEST*", "CHEST1", True),
        ("CHEST?", "CHEST12", False),
        ("chest1", "CHEST1", True),
        ("CHEST1", "HAND\\CHEST1", True),
        ("C.EST1", "CHEST1", False),
        ("*", "", True),
        ("?*", "", False),
    ],
)
def test_what_the_source_sends_must_match_indeed(wanted: str, value: str, is_wanted: bool) -> None:
    rule = PullRule(modalities=("DX",), match={"StationName": wanted})
    source = Source(study(StationName=value))
    assert bool(studies_by_rule(source, rule, TODAY)) is is_wanted
    assert source.asked[0][1]["StationName"] == wanted


@pytest.mark.parametrize(
    "rule",
    [
        {"match": {"StationNme": "CHEST1"}},
        {"match": {"ReferencedStudySequence": "1"}},
        {"match": {"StationName": ""}},
        {"match": {"StationName": "A\\B"}},
        {"modalities": []},
        {"modalities": ["D*"]},
        {"days": -1},
    ],
)
def test_a_rule_that_cannot_be_asked_is_refused_at_the_start(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PullRule.model_validate(rule)


def test_sources_have_names_of_their_own() -> None:
    source = DicomSource(name="pacs", ae_title="PACS", host="localhost")
    with pytest.raises(ValidationError, match="source names must differ"):
        Settings(sources=(source, source))
