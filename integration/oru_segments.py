"""An ORU^R01 as ER7 text: MSH PID PV1 ORC OBR [TQ1] OBX+ (HL7 2.5.1 §7.3.1, IHE RAD-28 mapping)."""

from dataclasses import dataclass
from datetime import datetime

from pydicom.sr.coding import Code

from dicom_node.peers import MllpDestination
from dicom_node.product import MANUFACTURER
from integration.document import ReportDocument
from integration.escape import escape
from integration.order_numbers import PRIORITIES, OrderNumbers
from integration.oru_fields import (
    coded,
    components,
    patient_identifier,
    patient_name,
    person,
    reason,
    study_time,
    timestamp,
)
from integration.oru_terms import (
    CONDITIONS,
    SR_SOP_INSTANCE_UID,
    WITHOUT_OBX_18,
    WITHOUT_TQ1,
    msh_18,
    read_order,
)
from integration.report_text import split_lines
from integration.source_header import SourceHeader
from integration.sr_content import REPORT, procedure_codes
from integration.sr_identity import sr_sop_instance_uid

_FIELD, _ENCODING_CHARACTERS = "|", "^~\\&"  # MSH-1, MSH-2
_MESSAGE_TYPE = "ORU^R01^ORU_R01"  # MSH-9
_PATIENT_CLASS_UNKNOWN = "U"  # PV1-2, table 0004
_RESULTS_FOLLOW = "RE"  # ORC-1, table 0119
_IN_PROCESS = "IP"  # ORC-5, table 0038
_RADIOLOGY = "RAD"  # OBR-24, table 0074
_PRIORITY_TABLE = "HL70485"  # TQ1-9


@dataclass(frozen=True)
class Observation:
    """One OBX."""

    value_type: str  # OBX-2
    code: Code  # OBX-3
    value: str  # OBX-5, escaped
    status: str  # OBX-11
    sub_id: str = "1"  # OBX-4


@dataclass(frozen=True)
class Result:
    """What one message tells; whom and what it is about is the document's."""

    control_id: str  # MSH-10
    at: datetime  # aware: MSH-7, OBR-22, OBX-14
    status: str  # OBR-25
    observations: tuple[Observation, ...]


def sr_rows(document: ReportDocument, status: str) -> tuple[Observation, ...]:
    """The SR of the same draft, where some PACS gets one."""
    named = Observation("ST", SR_SOP_INSTANCE_UID, sr_sop_instance_uid(document), status)
    return (named,) if document.has_sr else ()


def write_segments(result: Result, document: ReportDocument, destination: MllpDestination) -> str:
    """Segments end with CR. Equal arguments give equal messages."""
    header = SourceHeader.of(document.evidence)
    order = read_order(document)
    code, text = PRIORITIES[order.priority]
    is_without_tq1 = destination.version in WITHOUT_TQ1
    segments = [
        _message_header(result, document, destination),
        _patient(header),
        _visit(header),
        _order(order, timing=_timing(code) if is_without_tq1 else ""),
        _request(result, document, order),
        *([] if is_without_tq1 else [_segment("TQ1", {1: "1", 9: components(code, text, _PRIORITY_TABLE)})]),
        *(
            _observation(each, result, document, number=number, has_equipment=destination.version not in WITHOUT_OBX_18)
            for number, each in enumerate(result.observations, 1)
        ),
    ]
    return "".join(f"{segment}\r" for segment in segments)


def _message_header(result: Result, document: ReportDocument, destination: MllpDestination) -> str:
    accept, application = CONDITIONS[destination.acknowledgement]
    fields = {
        2: _ENCODING_CHARACTERS,
        3: escape(document.sending_application),
        4: escape(document.sending_facility),
        5: escape(destination.receiving_application),
        6: escape(destination.receiving_facility),
        7: timestamp(result.at, document.time_zone),
        9: _MESSAGE_TYPE,
        10: result.control_id,
        11: escape(document.processing_id),
        12: destination.version,
        15: accept,
        16: application,
        18: msh_18(destination),
    }
    return "MSH" + _segment("", {number - 1: value for number, value in fields.items()})  # MSH-1 is the separator


def _patient(header: SourceHeader) -> str:
    return _segment(
        "PID",
        {
            1: "1",
            3: patient_identifier(header),
            5: patient_name(header.text("PatientName")),
            7: header.text("PatientBirthDate"),
            8: header.text("PatientSex"),  # table 0001 has M, F and O too
        },
    )


def _visit(header: SourceHeader) -> str:
    return _segment("PV1", {1: "1", 2: _PATIENT_CLASS_UNKNOWN, 8: person(header.text("ReferringPhysicianName"))})


def _order(order: OrderNumbers, *, timing: str) -> str:
    return _segment(
        "ORC",
        {1: _RESULTS_FOLLOW, 2: components(*order.placer), 3: components(*order.filler), 5: _IN_PROCESS, 7: timing},
    )


def _request(result: Result, document: ReportDocument, order: OrderNumbers) -> str:
    header = SourceHeader.of(document.evidence)
    procedure = next(map(coded, procedure_codes(header)), "") or components(*order.procedure)
    return _segment(
        "OBR",
        {
            1: "1",
            2: components(*order.placer),
            3: components(*order.filler),
            4: procedure or coded(REPORT),
            7: study_time(header, document.time_zone),
            16: person(header.text("RequestingPhysician")),
            18: escape(order.accession),  # 18 to 20 as IHE RAD maps them
            19: escape(order.requested_procedure_id),
            20: escape(order.scheduled_step_id),
            22: timestamp(result.at, document.time_zone),
            24: _RADIOLOGY,
            25: result.status,
            27: _timing(PRIORITIES[order.priority][0]),  # for receivers that do not look at TQ1, too
            31: reason(" ".join(split_lines(document.indication))),
            # 32, principal result interpreter, stays empty: no person has interpreted this
            44: procedure,
        },
    )


def _observation(
    row: Observation, result: Result, document: ReportDocument, *, number: int, has_equipment: bool
) -> str:
    model = document.model
    return _segment(
        "OBX",
        {
            1: str(number),
            2: row.value_type,
            3: coded(row.code),
            4: row.sub_id,
            5: row.value,
            11: row.status,
            14: timestamp(result.at, document.time_zone),
            15: components(document.node_name, "AI device", "L"),
            # 16, responsible observer, stays empty: no person
            17: components(model.name, f"{model.name} {model.version}", "L"),
            18: components(document.node_name, MANUFACTURER) if has_equipment else "",
        },
    )


def _timing(priority: str) -> str:
    """TQ, of which component 6 is the priority."""
    return f"^^^^^{priority}"


def _segment(name: str, fields: dict[int, str]) -> str:
    """Place fields by their HL7 number; values are escaped already."""
    values = [name, *(fields.get(number, "") for number in range(1, max(fields) + 1))]
    return _FIELD.join(values).rstrip(_FIELD)
