"""What an image says of its patient and its study, for people to read; and studies' names, for people to look for."""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlmodel import Session, col, select

from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Instance, Series, Study
from dicom_node.pydicom_faults import invalid_header
from dicom_node.storage import InstanceStore

_AT_ONCE = 50  # studies
# Characters of a name that a row keeps. A PN has three groups of 64 (PS3.5 6.2), PostgreSQL indexes 2,700 bytes.
_LONGEST_NAME = 256
_KEYWORDS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime",
    "StudyDescription", "InstitutionName",
)  # fmt: skip


@dataclass(frozen=True)
class Demographics:
    """Elements of one image as they stand there, empty where it is silent."""

    patient_name: str = field(default="", repr=False)  # PN, with its carets
    patient_id: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)  # DA
    sex: str = ""
    accession_number: str = field(default="", repr=False)
    study_date: str = ""  # DA
    study_time: str = ""  # TM
    description: str = ""
    institution: str = ""


def read_demographics(part10: Path) -> Demographics:
    """Raises InvalidHeader where the file cannot be read, OSError where the disk fails."""
    with invalid_header():
        ds = dcmread(part10, specific_tags=["SpecificCharacterSet", *_KEYWORDS], stop_before_pixels=True)
        return Demographics(*(text_of(ds, keyword) for keyword in _KEYWORDS))


def shown_name(patient_name: str) -> str:
    """A PN as people write it: `Müller, Anna`; other scripts in brackets (PS3.5 6.2.1)."""
    first, *others = (", ".join(_parts(group)) for group in patient_name.split("="))
    others = [each for each in others if each]
    return f"{first} ({' · '.join(others)})" if first and others else first or " · ".join(others)


def fold(patient_name: str) -> str:
    """The words of a name, or of what is looked for, without regard to capitals and the PN's own signs."""
    return " ".join(patient_name.translate(_TO_BLANKS).casefold().split())


def note_name(study: Study, patient_name: str) -> None:
    """To look for, and so its beginning is enough of one that is longer than any name may be."""
    name = patient_name[:_LONGEST_NAME]
    study.patient_name, study.patient_name_folded = name, fold(name)


def note_names(sessions: Sessions, store: InstanceStore) -> bool:
    """Note the patients' names of the newest studies that have none yet. Returns whether there may be more.

    A file that is gone or cannot be parsed leaves the name empty. Raises StorageAway or OSError if the disk fails.
    """
    with sessions() as session:
        unread = select(Study.id).where(col(Study.patient_name).is_(None)).order_by(col(Study.id).desc())
        paths = {study_id: _first_path(session, study_id) for study_id in session.exec(unread.limit(_AT_ONCE))}
    names = {study_id: _name_in(store, path) for study_id, path in paths.items()}
    with sessions.begin() as session:
        for study_id, name in names.items():
            study = session.get_one(Study, study_id)
            if study.patient_name is None:  # or it was drafted since, and has the name of the film
                note_name(study, name)
                session.add(study)
    return len(names) == _AT_ONCE


def _first_path(session: Session, study_id: int | None) -> str | None:
    ours = select(Instance.path).join(Series).where(Series.study_id == study_id)
    return session.exec(ours.order_by(col(Instance.id))).first()


def _name_in(store: InstanceStore, path: str | None) -> str:
    try:
        return read_demographics(store.open(path)).patient_name if path else ""
    except Permanent:
        return ""


def _parts(group: str) -> list[str]:
    family, _, given = group.partition("^")
    return [part for part in (family.strip(), " ".join(given.replace("^", " ").split())) if part]


def text_of(ds: Dataset, keyword: str) -> str:
    """On one line, printable signs alone."""
    value = ds.get(keyword)
    text = "" if value is None else " ".join(str(value).split())
    return "".join(filter(str.isprintable, text)).strip()


_TO_BLANKS = str.maketrans("^=,", "   ")
