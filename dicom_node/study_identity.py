"""What an image says of the order it answers and of its patient: by this, orders and reports meet it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.demographics import note_name, text_of
from dicom_node.models import Study
from dicom_node.pydicom_faults import invalid_header
from dicom_node.receive.header import as_number

_REPLACEMENT = "\ufffd"  # pydicom's, for bytes that are not in their character set
_REASONS = ("ReasonForTheRequestedProcedure", "ReasonForStudy")  # (0040,1002), and (0032,1030) of older senders
_KEYWORDS = ("AccessionNumber", "PatientName", "PatientID", "IssuerOfPatientID", "RequestAttributesSequence", *_REASONS)


@dataclass(frozen=True)
class StudyIdentity:
    """Words of one image's header, empty where it is silent."""

    accession_number: str
    patient_id: str
    issuer_of_patient_id: str
    reason_for_study: str
    patient_name: str

    def remember(self, study: Study) -> None:
        """Note it with the study: later orders, reports and merges find it by this."""
        study.accession_number = self.accession_number
        study.patient_id = self.patient_id
        study.issuer_of_patient_id = self.issuer_of_patient_id
        note_name(study, self.patient_name)


def read_identity(part10: Path) -> StudyIdentity:
    """Raises InvalidHeader where the file cannot be read, OSError where the disk fails."""
    with invalid_header():
        ds = dcmread(part10, specific_tags=["SpecificCharacterSet", *_KEYWORDS], stop_before_pixels=True)
        places = (ds, *_first_item(ds.get("RequestAttributesSequence")))
        return StudyIdentity(
            accession_number=as_number(_first(places, "AccessionNumber")),
            patient_id=as_number(_first((ds,), "PatientID")),
            issuer_of_patient_id=as_number(_first((ds,), "IssuerOfPatientID")),
            reason_for_study=_first(reversed(places), *_REASONS),
            patient_name=text_of(ds, "PatientName"),
        )


def _first_item(value: object) -> tuple[Dataset, ...]:
    return tuple(value[:1]) if isinstance(value, Sequence) else ()


def _first(places: Iterable[Dataset], *keywords: str) -> str:
    values = (_text(ds, keyword) for ds in places for keyword in keywords)
    return next(filter(None, values), "")


def _text(ds: Dataset, keyword: str) -> str:
    """The value on one line; empty where its bytes are not in its character set."""
    text = text_of(ds, keyword)
    return "" if _REPLACEMENT in text else text
