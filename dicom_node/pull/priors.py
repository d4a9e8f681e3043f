"""The newest earlier chest radiograph of a patient, to compare with."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from dicom_node.errors import Permanent
from dicom_node.pull.query import Answer, Ask, exact, is_study, text_of
from dicom_node.pydicom_faults import invalid_header
from dicom_node.receive.coded_words import CHEST_WORDS, RADIOGRAPHY_MODALITIES

LONGEST_SEARCH_S = 600.0  # all its queries together
_MOST_CANDIDATES = 20  # earlier studies whose series are asked for


@dataclass(frozen=True)
class CurrentStudy:
    """What the prior is asked for by: the words of the header."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    study_date: str  # DA
    study_time: str  # TM


def read_current_study(part10: Path) -> CurrentStudy:
    """Raises InvalidHeader where the file cannot be parsed, OSError where the disk fails."""
    keywords = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "StudyDate", "StudyTime")
    with invalid_header():
        ds = dcmread(part10, specific_tags=[*keywords], stop_before_pixels=True)
        return CurrentStudy(*(text_of(ds, keyword) for keyword in keywords))


def newest_prior(ask: Ask, study: CurrentStudy) -> str | None:
    """The Study Instance UID of the newest earlier chest radiograph of the same patient; None if there is none.

    Raises Permanent where the header does not say whom or when to ask for.
    """
    if not study.study_date:
        raise Permanent("(0008,0020) Study Date is missing: what is earlier cannot be told")
    keys = {
        "PatientID": exact(study.patient_id, "(0010,0020) Patient ID"),
        "IssuerOfPatientID": study.issuer_of_patient_id,
        "StudyDate": f"-{study.study_date}",  # PS3.4 C.2.2.2.5: on that day or earlier
        "StudyTime": "",
        "StudyInstanceUID": "",
        "StudyDescription": "",
    }
    earlier = [each for each in ask("STUDY", keys) if is_study(each) and _is_earlier(each, study)]
    earlier.sort(key=_moment, reverse=True)
    candidates = (each for each in earlier[:_MOST_CANDIDATES] if _is_chest_radiograph(ask, each))
    return next((each["StudyInstanceUID"] for each in candidates), None)


def _is_earlier(answer: Answer, study: CurrentStudy) -> bool:
    """Whether it is of the same patient, whatever the source matched, and of an earlier moment."""
    issuer = answer["IssuerOfPatientID"]
    is_same = answer["PatientID"] == study.patient_id and issuer in ("", study.issuer_of_patient_id)
    is_other_study = answer["StudyInstanceUID"] != study.study_instance_uid
    return is_same and is_other_study and answer["StudyDate"] > "" and _moment(answer) < _moment_of(study)


def _moment(answer: Answer) -> tuple[str, str]:
    return answer["StudyDate"], answer["StudyTime"]


def _moment_of(study: CurrentStudy) -> tuple[str, str]:
    return study.study_date, study.study_time


def _is_chest_radiograph(ask: Ask, study: Answer) -> bool:
    keys = {
        "StudyInstanceUID": study["StudyInstanceUID"],
        "SeriesInstanceUID": "",
        "Modality": "",
        "BodyPartExamined": "",
        "SeriesDescription": "",
    }
    series = [each for each in ask("SERIES", keys) if each["Modality"] in RADIOGRAPHY_MODALITIES]
    return any(
        _is_chest(each["BodyPartExamined"] or f"{each['SeriesDescription']} {study['StudyDescription']}")
        for each in series
    )


def _is_chest(words: str) -> bool:
    return any(word in words.upper() for word in CHEST_WORDS)
