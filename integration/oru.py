"""The draft as an HL7 2.5.1 ORU^R01: MSH PID PV1 ORC OBR TQ1 OBX+ (HL7 2.5.1 §7.3.1, IHE RAD-28 mapping)."""

from dataclasses import dataclass

from pydicom.sr.coding import Code

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from dicom_node.product import MANUFACTURER
from dicom_node.uids import derive_control_id
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.escape import escape
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
from integration.oru_gate import check_oru
from integration.oru_terms import (
    DRAFT_STATUSES,
    FINDINGS,
    SR_SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    UID_STATUS,
    read_order,
)
from integration.report_text import check_lines, split_lines
from integration.source_header import SourceHeader
from integration.sr_content import REPORT, procedure_codes
from integration.sr_identity import draft_key, sr_sop_instance_uid

_FIELD, _ENCODING_CHARACTERS = "|", "^~\\&"  # MSH-1, MSH-2
_MESSAGE_TYPE = "ORU^R01^ORU_R01"  # MSH-9
_VERSION = "2.5.1"  # MSH-12
_CHARACTER_SET = "UNICODE UTF-8"  # MSH-18, table 0211
_PATIENT_CLASS_UNKNOWN = "U"  # PV1-2, table 0004
_RESULTS_FOLLOW = "RE"  # ORC-1, table 0119
_IN_PROCESS = "IP"  # ORC-5, table 0038
_RADIOLOGY = "RAD"  # OBR-24, table 0074
_ROUTINE_TIMING = "^^^^^R"  # OBR-27, for receivers older than TQ1
_ROUTINE = "R^Routine^HL70485"  # TQ1-9


@dataclass(frozen=True)
class _Row:
    value_type: str  # OBX-2
    code: Code  # OBX-3
    value: str  # OBX-5, not yet escaped
    status: str  # OBX-11
    sub_id: str = ""  # OBX-4


def build_oru(document: ReportDocument, destination: MllpDestination) -> str:
    """Make the message as ER7 text; segments end with CR. Equal arguments give equal messages.

    Raises InvalidOutput if there is no text, no study, or a status other than P and R.
    """
    if destination.result_status not in DRAFT_STATUSES:
        raise InvalidOutput(f"ORU: OBR-25 = {destination.result_status}, expected P or R")
    for name in ("findings", "disclaimer"):
        if not split_lines(getattr(document, name)):
            raise InvalidOutput(f"ORU: {name} is empty, expected text")
    header = SourceHeader.of(document.evidence)
    segments = [
        _message_header(document, destination),
        _patient(header),
        _visit(header),
        _order(document),
        _request(document, destination.result_status),
        _segment("TQ1", {1: "1", 9: _ROUTINE}),
        *_observations(document, destination.result_status),
    ]
    return "".join(f"{segment}\r" for segment in segments)


def encode_oru(document: ReportDocument, destination: MllpDestination) -> Encoded:
    """Write the message as UTF-8, without its frame, after it passed its gate. Raises InvalidOutput."""
    payload = build_oru(document, destination).encode("utf-8")
    check_oru(payload, document, destination)
    return Encoded(payload=payload, identifier=control_id(document, destination))


def control_id(document: ReportDocument, destination: MllpDestination) -> str:
    """MSH-10: the same on every resend, another for another draft or destination."""
    return derive_control_id("oru", *draft_key(document), destination.name)


def _message_header(document: ReportDocument, destination: MllpDestination) -> str:
    fields = {
        2: _ENCODING_CHARACTERS,
        3: escape(document.sending_application),
        4: escape(document.sending_facility),
        5: escape(destination.receiving_application),
        6: escape(destination.receiving_facility),
        7: timestamp(document.drafted_at, document.time_zone),
        9: _MESSAGE_TYPE,
        10: control_id(document, destination),
        11: escape(document.processing_id),
        12: _VERSION,
        18: _CHARACTER_SET,
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


def _order(document: ReportDocument) -> str:
    order = read_order(document)
    return _segment(
        "ORC", {1: _RESULTS_FOLLOW, 2: components(*order.placer), 3: components(*order.filler), 5: _IN_PROCESS}
    )


def _request(document: ReportDocument, status: str) -> str:
    header = SourceHeader.of(document.evidence)
    order = read_order(document)
    procedure = next(map(coded, procedure_codes(header)), "")
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
            22: timestamp(document.drafted_at, document.time_zone),
            24: _RADIOLOGY,
            25: status,
            27: _ROUTINE_TIMING,
            31: reason(" ".join(split_lines(document.indication))),
            # 32, principal result interpreter, stays empty: no person has interpreted this
            44: procedure,
        },
    )


def _observations(document: ReportDocument, status: str) -> list[str]:
    """The study, the opening, the draft line by line, what to check in it, the SR that holds the same text."""
    draft = filter(None, split_lines(document.findings))
    lines = (" ".join(split_lines(document.opening)), *draft, *check_lines(document.flags))
    study_uid = SourceHeader.of(document.evidence).require("StudyInstanceUID")
    rows = [
        _Row("ST", STUDY_INSTANCE_UID, study_uid, UID_STATUS),
        *(_Row("TX", FINDINGS, line, status, str(number)) for number, line in enumerate(lines, 1)),
        _Row("ST", SR_SOP_INSTANCE_UID, sr_sop_instance_uid(document), UID_STATUS),
    ]
    return [_observation(document, row, number=number) for number, row in enumerate(rows, 1)]


def _observation(document: ReportDocument, row: _Row, *, number: int) -> str:
    model = document.model
    return _segment(
        "OBX",
        {
            1: str(number),
            2: row.value_type,
            3: coded(row.code),
            4: row.sub_id,
            5: escape(row.value),
            11: row.status,
            14: timestamp(document.drafted_at, document.time_zone),
            15: components(document.node_name, "AI device", "L"),
            # 16, responsible observer, stays empty: no person
            17: components(model.name, f"{model.name} {model.version}", "L"),
            18: components(document.node_name, MANUFACTURER),
        },
    )


def _segment(name: str, fields: dict[int, str]) -> str:
    """Place fields by their HL7 number; values are escaped already."""
    values = [name, *(fields.get(number, "") for number in range(1, max(fields) + 1))]
    return _FIELD.join(values).rstrip(_FIELD)
