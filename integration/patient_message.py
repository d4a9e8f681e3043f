"""ADT messages that say something new of a patient: updates and merges (HL7 2.5.1 3.3.8, 3.3.31, 3.3.40)."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.patients import Identifier
from dicom_node.peers import Hl7Paths
from integration.acknowledgement import DATA_TYPE_ERROR, REQUIRED_FIELD_MISSING, SEGMENT_SEQUENCE_ERROR, error
from integration.er7 import Message, Segment
from integration.reading import LONGEST_IDENTIFIER, MOST_IDENTIFIERS, Reading


@dataclass(frozen=True)
class UpdateFacts:
    """What is known of the patient has changed."""

    event: str  # A08
    patient: tuple[Identifier, ...]


@dataclass(frozen=True)
class MergeFacts:
    """Two identifiers, or more, are of one person from now on."""

    event: str  # A40
    surviving: tuple[Identifier, ...]
    prior: tuple[Identifier, ...]


def read_update(message: Message, _: Hl7Paths) -> Reading:
    return Reading((UpdateFacts(_event(message), patient_of(message.segments)),), "a patient update")


def read_merges(message: Message, _: Hl7Paths) -> Reading:
    """One merge for each MRG: it follows the PID of the patient who survives. Raises Refused."""
    merges, surviving = [], None
    for segment in message.segments:
        if segment.name == "PID":
            surviving = _identifiers(segment, "PID", 3)
        if segment.name == "MRG":
            if surviving is None:
                raise error(SEGMENT_SEQUENCE_ERROR, "MRG^1", "expected a PID before it")
            merges.append(MergeFacts(_event(message), surviving, _identifiers(segment, "MRG", 1)))
    if not merges:
        raise error(SEGMENT_SEQUENCE_ERROR, "MRG^1", "expected the identifier that is no longer used")
    return Reading(tuple(merges), f"{len(merges)} merged patients" if len(merges) > 1 else "a merged patient")


def patients_of(message: Message) -> list[tuple[tuple[Identifier, ...], Sequence[Segment]]]:
    """Each patient with its segments: an ORU may be about several (HL7 2.5.1 7.3.1), each from its PID on.

    What stands before the first PID is the first patient's, too. Raises Refused where a patient has no identifier.
    """
    begins = [at for at, segment in enumerate(message.segments) if segment.name == "PID"][1:]
    parts = [message.segments[begin:end] for begin, end in zip([0, *begins], [*begins, None], strict=True)]
    return [(patient_of(part), part) for part in parts]


def patient_of(segments: Sequence[Segment]) -> tuple[Identifier, ...]:
    """All identifiers of the first PID-3. Raises Refused where there is none."""
    pid = next((segment for segment in segments if segment.name == "PID"), None)
    if pid is None:
        raise error(SEGMENT_SEQUENCE_ERROR, "PID^1", "expected a patient")
    return _identifiers(pid, "PID", 3)


def _identifiers(segment: Segment, name: str, number: int) -> tuple[Identifier, ...]:
    found = tuple(filter(None, (_identifier(segment, each) for each in segment.repetitions(number))))
    if not found:
        raise error(REQUIRED_FIELD_MISSING, f"{name}^1^{number}", "expected a patient identifier")
    if len(found) > MOST_IDENTIFIERS:
        raise error(DATA_TYPE_ERROR, f"{name}^1^{number}", f"expected {MOST_IDENTIFIERS} patient identifiers at most")
    if any(len(each.id_number) > LONGEST_IDENTIFIER for each in found):
        raise error(DATA_TYPE_ERROR, f"{name}^1^{number}", f"expected {LONGEST_IDENTIFIER} characters at most")
    return found


def _identifier(segment: Segment, repetition: str) -> Identifier | None:
    """CX: CX.1 the number; CX.4 who assigned it, a namespace and a universal ID."""
    id_number = segment.part(repetition, 1)
    return Identifier.of(id_number, *segment.subparts(repetition, 4)[:2]) if id_number else None


def _event(message: Message) -> str:
    return message.header.component(9, 2)
