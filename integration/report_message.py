"""Final and corrected reports: ORU^R01 with OBR-25 F or C (HL7 2.5.1 7.3.1)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dicom_node.patients import Identifier
from dicom_node.peers import Hl7Paths
from integration.acknowledgement import REQUIRED_FIELD_MISSING, SEGMENT_SEQUENCE_ERROR, error
from integration.er7 import Message, Segment
from integration.order_message import order_groups
from integration.patient_message import patients_of
from integration.reading import Group, Reading
from integration.report_text import split_lines

FINAL = frozenset({"F", "C"})  # OBR-25, table 0123: final, corrected
NO_TEXT = frozenset({"ED", "RP", "HD"})  # OBX-2: documents, pointers and identifiers
TAKEN_BACK = frozenset({"D", "W"})  # OBX-11, table 0085: deleted, or posted wrongly
_CODED = frozenset({"CE", "CWE", "CNE"})  # OBX-2: the text is their second component
_STUDY_INSTANCE_UID = "113014"  # OBX-3, DCM
# OBX-3.1, LOINC, or the suffix of a report section (HL7 2.5.1 7.5, table 0285)
FINDINGS = frozenset({"59776-5", "18782-3", "GDT"})
IMPRESSION = frozenset({"19005-8", "IMP"})


@dataclass(frozen=True)
class FinalFacts:
    """One report, of one request."""

    status: str  # F or C
    patient: tuple[Identifier, ...]
    accession_number: str
    study_instance_uid: str
    placer_order_number: str  # EI
    filler_order_number: str  # EI
    findings: str
    impression: str
    text: str


def read_finals(message: Message, paths: Hl7Paths) -> Reading:
    """Raises Refused where there is no request, or a final report of which nothing says what it is of."""
    groups = [(patient, group) for patient, part in patients_of(message) for group in order_groups(part)]
    requests = [(patient, group) for patient, group in groups if group.first("OBR")]
    if not requests:
        raise error(SEGMENT_SEQUENCE_ERROR, "OBR^1", "expected a request")
    finals = [(patient, group) for patient, group in requests if group.component("OBR", 25) in FINAL]
    facts = tuple(_read(group, patient, paths) for patient, group in finals)
    return Reading(facts, "a final report" if facts else "a report that is not final")


def _read(group: Group, patient: tuple[Identifier, ...], paths: Hl7Paths) -> FinalFacts:
    rows = [segment for segment in group.segments if segment.name == "OBX"]
    studies = [row for row in rows if _names_study(row)]
    facts = FinalFacts(
        status=group.component("OBR", 25),
        patient=patient,
        accession_number=group.identifier(paths.accession_number),
        study_instance_uid=_study(studies) or group.uid(paths.study_instance_uid),
        placer_order_number=group.entity("ORC-2", "OBR-2"),
        filler_order_number=group.entity("ORC-3", "OBR-3"),
        findings=_text(row for row in rows if _is_section(row, FINDINGS)),
        impression=_text(row for row in rows if _is_section(row, IMPRESSION)),
        text=_text(row for row in rows if not _names_study(row)),
    )
    numbers = (facts.accession_number, facts.study_instance_uid, facts.placer_order_number, facts.filler_order_number)
    if not any(numbers):
        raise error(REQUIRED_FIELD_MISSING, "OBR^1^18", "expected what the report is of")
    return facts


def _names_study(row: Segment) -> bool:
    return row.component(3) == _STUDY_INSTANCE_UID


def _study(rows: list[Segment]) -> str:
    """OBX-5 of the row that names the study: an ST, or an HD with the UID in its second component."""
    group = Group(tuple(rows[:1]))
    return group.uid(("OBX-5.1", "OBX-5.2"))


def _is_section(row: Segment, codes: frozenset[str]) -> bool:
    code = row.field(3).split(row.delimiters.component)[0]
    return not codes.isdisjoint(code.split(row.delimiters.subcomponent))


def _text(rows: Iterable[Segment]) -> str:
    """OBX-5 of all rows that hold text; a line for each repetition (a blank one, too) and for each line of an FT."""
    values = (value for row in rows if _is_text(row) for value in _values(row))
    return "\n".join(split_lines("\n".join(values).replace("\v", "\n")))  # VT: a line break of word processors


def _is_text(row: Segment) -> bool:
    return row.field(2) not in NO_TEXT and row.component(11) not in TAKEN_BACK


def _values(row: Segment) -> Iterator[str]:
    for repetition in row.field(5).split(row.delimiters.repetition):
        if row.field(2) in _CODED:
            yield row.part(repetition, 2) or row.part(repetition, 1)
        else:
            yield row.delimiters.unescape(repetition)
