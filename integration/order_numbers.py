"""What the HL7 order says of a request: as its row has it, or as a message of ours has told it."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.models import Order
from dicom_node.orders import ROUTINE
from integration.escape import unescape
from integration.hl7_charset import decode_text
from integration.oru_reader import Segment, component, entity, field

# HL7 table 0485, and the same letters in 0027: as `order_message` reads them
PRIORITIES: Mapping[int, tuple[str, str]] = {
    0: ("S", "Stat"),
    1: ("A", "ASAP"),
    2: ("T", "Timing critical"),
    3: ("P", "Preop"),
    4: ("C", "Callback"),
    ROUTINE: ("R", "Routine"),
}
_BY_LETTER = {letter: priority for priority, (letter, _) in PRIORITIES.items()}


@dataclass(frozen=True)
class OrderNumbers:
    """For images that do not say it themselves; empty where nobody does."""

    placer: tuple[str, ...] = ()  # EI: identifier, namespace, universal ID, its type
    filler: tuple[str, ...] = ()  # EI
    accession: str = ""
    requested_procedure_id: str = ""
    scheduled_step_id: str = ""
    procedure: tuple[str, ...] = ()  # CE: code, text, coding system; any of them may be empty
    priority: int = ROUTINE  # 0 is the most urgent
    names_study: bool = False  # the order names the very study, not its accession number alone


NO_ORDER = OrderNumbers()


def numbers_of(order: Order, study_instance_uid: str) -> OrderNumbers:
    """What the order says now."""
    return OrderNumbers(
        placer=entity(order.placer_order_number),
        filler=entity(order.filler_order_number),
        accession=order.accession_number,
        requested_procedure_id=order.requested_procedure_id,
        scheduled_step_id=order.scheduled_step_id,
        procedure=(order.procedure_code, order.procedure_text, order.procedure_scheme),
        priority=order.priority,
        names_study=order.study_instance_uid == study_instance_uid,
    )


def numbers_in(oru: bytes) -> OrderNumbers:
    """What an ORU of ours told of the order. Raises InvalidOutput if it is no text in its character set."""
    segments = _segments(oru)
    order, request = segments.get("ORC", []), segments.get("OBR", [])
    return OrderNumbers(
        placer=entity(field(order, 2)),
        filler=entity(field(order, 3)),
        accession=unescape(field(request, 18)),
        requested_procedure_id=unescape(field(request, 19)),
        scheduled_step_id=unescape(field(request, 20)),
        procedure=entity(field(request, 44)),
        priority=_BY_LETTER.get(component(field(request, 27), 6), ROUTINE),
        names_study=True,  # it was told of the study, whatever the order named
    )


def _segments(oru: bytes) -> dict[str, Segment]:
    """Of each name the last: ORC and OBR come once."""
    header = oru.split(b"\r", 1)[0].split(b"|")
    msh_18 = header[17].decode("ascii", "replace") if len(header) > 17 else "ASCII"
    return {segment[0]: segment for segment in (each.split("|") for each in decode_text(oru, msh_18).split("\r"))}
