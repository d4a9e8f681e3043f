"""What an image says of its order and its patient."""

from pathlib import Path
from typing import Any

import pytest
from doubles import NOON
from films import write_dx
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.errors import InvalidHeader
from dicom_node.models import Study
from dicom_node.patients import Identifier, patient_of
from dicom_node.study_identity import StudyIdentity, read_identity


def request(**elements: str) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


@pytest.mark.parametrize(
    ("elements", "identity"),
    [
        ({}, ("CANARY-ACC", "CANARY-ID", "", "")),
        ({"AccessionNumber": None, "PatientID": None}, ("", "", "", "")),
        (
            {"AccessionNumber": "", "RequestAttributesSequence": request(AccessionNumber="A")},
            ("A", "CANARY-ID", "", ""),
        ),
        ({"IssuerOfPatientID": "HOSP"}, ("CANARY-ACC", "CANARY-ID", "HOSP", "")),
        ({"ReasonForStudy": "Fall"}, ("CANARY-ACC", "CANARY-ID", "", "Fall")),
        (
            {"ReasonForStudy": "Fall", "RequestAttributesSequence": request(ReasonForTheRequestedProcedure="Cough ")},
            ("CANARY-ACC", "CANARY-ID", "", "Cough"),
        ),
        ({"RequestAttributesSequence": Sequence([])}, ("CANARY-ACC", "CANARY-ID", "", "")),
        ({"ReasonForStudy": "two\r\n lines\0"}, ("CANARY-ACC", "CANARY-ID", "", "two lines")),
    ],
)
def test_an_image_names_its_order_and_its_patient(
    elements: dict[str, Any], identity: tuple[str, str, str, str], tmp_path: Path
) -> None:
    assert read_identity(write_dx(tmp_path / "film.dcm", **elements)) == StudyIdentity(
        *identity, patient_name="CANARY^PHI"
    )


def test_a_reason_is_read_in_its_character_set(tmp_path: Path) -> None:
    film = write_dx(tmp_path / "film.dcm", SpecificCharacterSet="ISO_IR 100", ReasonForStudy="Größe")
    assert read_identity(film).reason_for_study == "Größe"


def test_a_reason_that_its_character_set_cannot_hold_is_none(tmp_path: Path) -> None:
    film = write_dx(tmp_path / "film.dcm", SpecificCharacterSet="ISO_IR 192", ReasonForStudy="Grxsse")
    film.write_bytes(film.read_bytes().replace(b"Grxsse", b"Gr\xf6sse"))
    assert read_identity(film).reason_for_study == ""


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.dcm").write_bytes(b"CANARY")
    with pytest.raises(InvalidHeader, match="expected DICOM Part 10"):
        read_identity(tmp_path / "none.dcm")


def test_a_study_remembers_what_its_image_says() -> None:
    study = Study(study_instance_uid="1.2", last_received_at=NOON, created_at=NOON)
    assert patient_of(study) == ()
    StudyIdentity("A", "P", "Hosp", "", "CANARY^PHI").remember(study)
    assert (study.accession_number, patient_of(study)) == ("A", (Identifier.of("P", "HOSP"),))
    assert (study.patient_name, study.patient_name_folded) == ("CANARY^PHI", "canary phi")
