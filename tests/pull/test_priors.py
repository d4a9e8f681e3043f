"""Which earlier study is the prior: of the same patient, of the chest, the newest, whatever the source answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from films import write_dx

from dicom_node.errors import InvalidHeader, Permanent
from dicom_node.pull.priors import CurrentStudy, newest_prior, read_current_study
from dicom_node.pull.query import Answer, Level

CURRENT = CurrentStudy("1.2.1", "CANARY-ID", "", "20260301", "101500")
DX = {"Modality": "DX", "BodyPartExamined": "CHEST", "SeriesDescription": ""}


def study(uid: str, **values: str) -> Answer:
    base = {"PatientID": "CANARY-ID", "IssuerOfPatientID": "", "StudyDate": "20250101", "StudyTime": ""}
    return {"StudyInstanceUID": uid, "StudyDescription": "", **base, **values}


class Source:
    """Answers with these studies, and with these series of each."""

    def __init__(self, *studies: Answer, series: Mapping[str, list[dict[str, str]]] | None = None) -> None:
        self.studies = list(studies)
        self.series = series or {}
        self.asked: list[tuple[Level, Answer]] = []

    def __call__(self, level: Level, keys: Answer) -> list[Answer]:
        self.asked.append((level, keys))
        return self.studies if level == "STUDY" else [*self.series.get(keys["StudyInstanceUID"], [DX])]


def test_the_newest_earlier_study_of_the_patient_is_asked_for_and_taken() -> None:
    source = Source(
        study("1.2.2", StudyDate="20240101"),
        study("1.2.3", StudyDate="20260301", StudyTime="093000"),
        study("1.2.4", StudyDate="20260301", StudyTime="080000"),
    )
    assert newest_prior(source, CURRENT) == "1.2.3"
    level, keys = source.asked[0]
    assert (level, keys["PatientID"], keys["StudyDate"]) == ("STUDY", "CANARY-ID", "-20260301")


@pytest.mark.parametrize(
    "answer",
    [
        study("1.2.1"),
        study("1.2.2", StudyDate="20260301", StudyTime="101500"),
        study("1.2.2", StudyDate="20270101"),
        study("1.2.2", StudyDate=""),
        study("1.2.2", PatientID="CANARY-OTHER"),
        study("1.2.2", PatientID=""),
        study("1.2.2", IssuerOfPatientID="CANARY-OTHER"),
        study("no UID"),
    ],
    ids=["itself", "same moment", "later", "no date", "other patient", "no patient", "other issuer", "no UID"],
)
def test_what_is_not_an_earlier_study_of_the_patient_is_no_prior(answer: Answer) -> None:
    assert newest_prior(Source(answer), CURRENT) is None


@pytest.mark.parametrize(
    ("series", "is_prior"),
    [
        ([{"BodyPartExamined": "HIP"}], False),
        ([{"Modality": "CT"}], False),
        ([{"Modality": "SR"}, {"Modality": "CR"}], True),
        ([{"BodyPartExamined": "", "SeriesDescription": "Thorax p.a."}], True),
        ([{"BodyPartExamined": "", "SeriesDescription": "p.a."}], False),
        ([], False),
    ],
    ids=["hip", "CT", "with a report", "described", "not described", "no series"],
)
def test_only_a_chest_radiograph_is_a_prior(series: list[dict[str, str]], is_prior: bool) -> None:
    source = Source(study("1.2.2"), series={"1.2.2": [{**DX, **each} for each in series]})
    assert newest_prior(source, CURRENT) == ("1.2.2" if is_prior else None)


def test_a_hip_that_is_newer_is_passed_over() -> None:
    hip = {**DX, "BodyPartExamined": "HIP"}
    source = Source(study("1.2.2", StudyDate="20260101"), study("1.2.3"), series={"1.2.2": [hip]})
    assert newest_prior(source, CURRENT) == "1.2.3"


def test_an_issuer_is_asked_for_and_must_not_differ() -> None:
    current = CurrentStudy("1.2.1", "CANARY-ID", "CANARY-SITE", "20260301", "")
    source = Source(study("1.2.2", IssuerOfPatientID="CANARY-SITE"))
    assert newest_prior(source, current) == "1.2.2"
    assert source.asked[0][1]["IssuerOfPatientID"] == "CANARY-SITE"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patient_id": ""}, "Patient ID is empty"),
        ({"patient_id": "CANARY*"}, r"Patient ID has one of the characters \* \? "),
        ({"study_date": ""}, "Study Date is missing"),
    ],
)
def test_a_header_that_does_not_say_whom_or_when_is_an_error(changes: dict[str, Any], words: str) -> None:
    current = CurrentStudy(**{**vars(CURRENT), **changes})
    with pytest.raises(Permanent, match=words) as caught:
        newest_prior(Source(), current)
    assert "CANARY" not in str(caught.value)


def test_the_current_study_is_read_from_its_image(tmp_path: Path) -> None:
    file = write_dx(tmp_path / "film.dcm", StudyInstanceUID="1.2.1", StudyDate="20260301", StudyTime="101500")
    assert read_current_study(file) == CURRENT
    file.write_bytes(b"CANARY")
    with pytest.raises(InvalidHeader):
        read_current_study(file)
    with pytest.raises(FileNotFoundError):  # the disk: another try may find it
        read_current_study(tmp_path / "away.dcm")
