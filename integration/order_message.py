"""Orders for imaging: ORM^O01, OMI^O23, OMG^O19 (HL7 2.5.1 4.4; IHE RAD-2, RAD-3, RAD-4)."""

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_node.orders import ROUTINE
from dicom_node.patients import Identifier
from dicom_node.peers import Hl7Paths
from integration.acknowledgement import REQUIRED_FIELD_MISSING, SEGMENT_SEQUENCE_ERROR, error
from integration.er7 import Message, Segment
from integration.patient_message import patients_of
from integration.reading import Group, Reading

# ORC-1, table 0119: the order as it is now, or that it is no more. An order without ORC-1 is a new one.
TELLS = frozenset({"", "NW", "XO", "XX", "SC", "SN", "NA", "RO", "OK", "PA", "CH"})
CANCELS = frozenset({"CA", "OC", "DC", "OD", "CR"})
CANCELLED = frozenset({"CA", "DC"})  # ORC-5, table 0038, of a changed status
# TQ1-9, OBR-27.6, ORC-7.6: table 0485, and the words that senders write instead
PRIORITIES = {
    **dict.fromkeys(("S", "STAT"), 0),
    **dict.fromkeys(("A", "ASAP", "URGENT"), 1),
    "T": 2,  # timing critical
    **dict.fromkeys(("P", "PREOP"), 3),
    **dict.fromkeys(("C", "CALLBACK"), 4),
    **dict.fromkeys(("R", "ROUTINE"), ROUTINE),
}
PRIORITY_PLACES = (("TQ1", 9, 1), ("OBR", 27, 6), ("ORC", 7, 6), ("OBR", 5, 1))


@dataclass(frozen=True)
class OrderFacts:
    """One order. What is empty, or None, the message does not say."""

    is_cancelled: bool
    patient: tuple[Identifier, ...]
    accession_number: str
    study_instance_uid: str
    placer_order_number: str  # EI
    filler_order_number: str  # EI
    requested_procedure_id: str
    scheduled_step_id: str
    procedure_code: str
    procedure_text: str
    procedure_scheme: str
    reason_for_study: str
    priority: int | None


def read_orders(message: Message, paths: Hl7Paths) -> Reading:
    """Raises Refused where there is no order, or one that nothing identifies."""
    groups = [(patient, group) for patient, part in patients_of(message) for group in order_groups(part)]
    if not groups:
        raise error(SEGMENT_SEQUENCE_ERROR, "ORC^1", "expected an order")
    used = [(patient, group) for patient, group in groups if _control(group) in TELLS | CANCELS]
    facts = tuple(_read(group, patient, paths) for patient, group in used)
    unused = len(groups) - len(used)
    words = [f"{len(facts)} orders" if len(facts) > 1 else "an order"] if facts else []
    return Reading(
        facts, ", ".join([*words, *([f"{unused} with an order control that is not used"] if unused else [])])
    )


def order_groups(segments: Iterable[Segment]) -> list[Group]:
    """Each order with what follows it: from its ORC on, or from an OBR that has none."""
    groups: list[list[Segment]] = []
    for segment in segments:
        begins = segment.name == "ORC" or (segment.name == "OBR" and not _awaits_request(groups))
        if begins:
            groups.append([])
        if groups:
            groups[-1].append(segment)
    return [Group(tuple(each)) for each in groups]


def _awaits_request(groups: list[list[Segment]]) -> bool:
    return bool(groups) and all(segment.name != "OBR" for segment in groups[-1])


def _read(group: Group, patient: tuple[Identifier, ...], paths: Hl7Paths) -> OrderFacts:
    facts = OrderFacts(
        is_cancelled=_control(group) in CANCELS or group.component("ORC", 5) in CANCELLED,
        patient=patient,
        accession_number=group.identifier(paths.accession_number),
        study_instance_uid=group.uid(paths.study_instance_uid),
        placer_order_number=group.entity("ORC-2", "OBR-2"),
        filler_order_number=group.entity("ORC-3", "OBR-3"),
        requested_procedure_id=group.identifier(("IPC-2", "OBR-19")),
        scheduled_step_id=group.identifier(("IPC-4", "OBR-20")),
        procedure_code=group.component("OBR", 4, 1),
        procedure_text=group.component("OBR", 4, 2),
        procedure_scheme=group.component("OBR", 4, 3),
        reason_for_study=group.words(paths.reason_for_study),
        priority=_priority(group),
    )
    numbers = (facts.accession_number, facts.study_instance_uid, facts.placer_order_number, facts.filler_order_number)
    if not any(numbers):
        raise error(REQUIRED_FIELD_MISSING, "ORC^1^2", "expected a number of the order, an accession number or a study")
    return facts


def _control(group: Group) -> str:
    return group.component("ORC", 1).upper()


def _priority(group: Group) -> int | None:
    words = (group.component(*place).upper() for place in PRIORITY_PLACES)
    return next((PRIORITIES[word] for word in words if word in PRIORITIES), None)
