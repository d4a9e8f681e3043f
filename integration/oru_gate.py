"""The last look at an ORU before it leaves: hl7apy for the structure, an own tokenizer for what it says."""

import re

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from integration.document import ReportDocument
from integration.escape import unescape
from integration.hl7_charset import decode_text
from integration.order_numbers import PRIORITIES
from integration.oru_reader import OruReader, Segment, component, entity, field
from integration.oru_terms import (
    CANCELLED_MESSAGE,
    CONDITIONS,
    DELETED,
    DRAFT_STATUSES,
    NO_RESULT,
    SR_SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    UID_STATUS,
    WITHOUT_TQ1,
    cancellation_id,
    control_id,
    msh_18,
    read_order,
)
from integration.oru_text import opening_lines, read_values, text_code
from integration.report_text import check_lines, split_lines, withdrawal_line
from integration.source_header import SourceHeader
from integration.sr_identity import sr_sop_instance_uid

_FRAMING = b"\x0b\x1c"  # HL7 2.5.1 appendix C.4
_HEAD = ("MSH", "PID", "PV1", "ORC", "OBR")  # then TQ1 since 2.5, then OBX
# What is too long for some data type: an IS such as HD.1, of which hl7apy takes 20 characters
_LONG_VALUE = re.compile(r"([^|^~&\r]{20})[^|^~&\r]+")
_HL7_NAME = (0, 1, 2, 4, 3)  # where family, given, middle, prefix and suffix of a DICOM name lie in an XPN
_GROUPS = {"": 0, "A": 0, "I": 1, "P": 2}  # XPN.8, table 0465
# What hl7apy raises on a message that it does not like, beside its own exceptions
_COMPLAINTS = (HL7apyException, ValueError, TypeError, AttributeError, LookupError)


def check_oru(payload: bytes, document: ReportDocument, destination: MllpDestination) -> None:
    """Raises InvalidOutput, naming the field, unless the bytes say this draft about this patient and study."""
    message = _read(payload, document, destination)
    _equal("MSH-10", message.field("MSH", 10), control_id(document, destination))
    _check_status(message, destination)
    _check_text(message, document, destination)


def check_cancellation(payload: bytes, document: ReportDocument, destination: MllpDestination) -> None:
    """Raises InvalidOutput, naming the field, unless the bytes take back this draft and hold none of it."""
    message = _read(payload, document, destination)
    _equal("MSH-10", message.field("MSH", 10), cancellation_id(document, destination))
    _equal("OBR-25", message.field("OBR", 25), NO_RESULT)
    _equal("OBX-5, message", message.values(CANCELLED_MESSAGE.value), [control_id(document, destination)])
    values = message.values(text_code(destination).value)
    expected = [withdrawal_line(document.drafted_at, document.time_zone)]
    _equal("OBX-5, withdrawal", read_values(values[:1], destination), expected)
    _equal("OBX-5, findings", any(values[1:]), False)
    _equal("OBX-4", len(values), max(1, document.rows_sent))
    for observation in message.observations:
        is_reference = component(field(observation, 3), 1) in (STUDY_INSTANCE_UID.value, CANCELLED_MESSAGE.value)
        _equal("OBX-11", field(observation, 11), UID_STATUS if is_reference else DELETED)


def _read(payload: bytes, document: ReportDocument, destination: MllpDestination) -> OruReader:
    """What holds of both messages: who and what it is about, in which words, and that no person answers for it."""
    if any(byte in payload for byte in _FRAMING):
        raise InvalidOutput("ORU gate: payload has a framing character, expected none")
    text = decode_text(payload, destination.character_set)
    message = OruReader.read(text, _HEAD if destination.version in WITHOUT_TQ1 else (*_HEAD, "TQ1"))
    _check_structure(message, destination)
    _check_with_hl7apy(text)
    _check_patient(message, document)
    _check_study(message, document)
    _equal("OBR-32", message.field("OBR", 32), "")
    for observation in message.observations:
        _equal("OBX-16", field(observation, 16), "")
    return message


def _check_structure(message: OruReader, destination: MllpDestination) -> None:
    _equal("segments", message.names, [*message.head, *["OBX"] * len(message.observations)])
    _equal("MSH-2", message.field("MSH", 2), "^~\\&")
    _equal("MSH-12", message.field("MSH", 12), destination.version)
    conditions = message.field("MSH", 15), message.field("MSH", 16)
    _equal("MSH-15, MSH-16", conditions, CONDITIONS[destination.acknowledgement])
    _equal("MSH-18", message.field("MSH", 18), msh_18(destination))


def _check_with_hl7apy(text: str) -> None:
    try:
        parse_message(_shorten(text), validation_level=VALIDATION_LEVEL.STRICT).validate()
    except _COMPLAINTS as error:  # its text quotes the value
        raise InvalidOutput(f"ORU gate: hl7apy refuses the message ({type(error).__name__})") from error


def _shorten(text: str) -> str:
    """The message with long values cut, for hl7apy alone: what they say is checked here.

    Images may name an issuer of 64 characters, and orders what a later version allows, of which none has lengths.
    """
    return _LONG_VALUE.sub(r"\1", text)


def _check_patient(message: OruReader, document: ReportDocument) -> None:
    header = SourceHeader.of(document.evidence)
    identifier = message.field("PID", 3)
    _equal("PID-3", "~" in identifier, False)
    _equal("PID-3.1", component(identifier, 1), header.text("PatientID"))
    _equal("PID-3.4", component(identifier, 4), _authority(header))
    _equal("PID-5", _read_name(message.field("PID", 5)), _plain_name(header.text("PatientName")))
    _equal("PID-7", message.field("PID", 7), header.text("PatientBirthDate"))
    _equal("PID-8", message.field("PID", 8), header.text("PatientSex"))


def _check_study(message: OruReader, document: ReportDocument) -> None:
    header = SourceHeader.of(document.evidence)
    order = read_order(document)
    for name in ("ORC", "OBR"):
        _equal(f"{name}-2", entity(message.field(name, 2)), order.placer)
        _equal(f"{name}-3", entity(message.field(name, 3)), order.filler)
    _equal("OBR-18", unescape(message.field("OBR", 18)), order.accession)
    _equal("OBR-27", component(message.field("OBR", 27), 6), PRIORITIES[order.priority][0])
    _equal("OBX-5, study", message.values(STUDY_INSTANCE_UID.value), [header.text("StudyInstanceUID")])
    sr = [sr_sop_instance_uid(document)] if document.has_sr else []
    _equal("OBX-5, SR", message.values(SR_SOP_INSTANCE_UID.value), sr)


def _check_status(message: OruReader, destination: MllpDestination) -> None:
    """P or R and nothing else; O on the rows that name objects, D on those that are left of a longer draft."""
    status = destination.result_status
    _equal("result_status", status in DRAFT_STATUSES, True)
    _equal("OBR-25", message.field("OBR", 25), status)
    for observation in message.observations:
        is_text = field(observation, 2) == destination.text_type
        _equal("OBX-2", is_text or field(observation, 2) == "ST", True)
        if not _is_deleted(observation):
            _equal("OBX-11", field(observation, 11), status if is_text else UID_STATUS)


def _check_text(message: OruReader, document: ReportDocument, destination: MllpDestination) -> None:
    """Every row of text is the draft's, the opening comes first, and no line is lost, added or changed."""
    rows = [each for each in message.observations if field(each, 2) == destination.text_type]
    _equal("OBX-3", message.values(text_code(destination).value), [field(each, 5) for each in rows])
    values = [field(each, 5) for each in rows if not _is_deleted(each)]
    texts = read_values(values, destination)
    opening = list(opening_lines(document))
    draft = [line for line in split_lines(document.findings) if line or destination.text_type != "TX"]
    end = len(opening) + len(draft)
    _equal("OBX-5, disclaimer", texts[: len(opening)], opening)
    _equal("OBX-5, findings", texts[len(opening) : end], draft)
    _equal("OBX-5, checks", texts[end:], list(check_lines(document.flags)))
    _equal("OBX-11, rows deleted", len(rows), max(len(values), document.rows_sent))
    _equal("OBX-11, rows deleted", any(map(_is_deleted, rows[: len(values)])), False)
    _equal("OBX-4", [field(each, 4) for each in rows], [str(at) for at in range(1, len(rows) + 1)])


def _is_deleted(row: Segment) -> bool:
    """Whether a row of text is there to be deleted: it has none."""
    return field(row, 11) == DELETED and field(row, 2) != "ST" and not field(row, 5)


def _authority(header: SourceHeader) -> str:
    """PID-3.4 as it reads when unescaped: the issuer and its universal ID, joined as subcomponents."""
    if not header.text("PatientID"):
        return ""
    names = [header.text("IssuerOfPatientID")]
    for qualifiers in header.items("IssuerOfPatientIDQualifiersSequence")[:1]:
        names += [qualifiers.text("UniversalEntityID"), qualifiers.text("UniversalEntityIDType")]
    return "&".join(names).rstrip("&")


def _read_name(field: str) -> str:
    """PID-5 back as a DICOM name."""
    groups = ["", "", ""]
    for repetition in field.split("~"):
        parts = [component(repetition, 1 + position) for position in _HL7_NAME]
        groups[_GROUPS.get(component(repetition, 8), 0)] = "^".join(parts)
    return _plain_name("=".join(groups))


def _plain_name(name: str) -> str:
    """A name without the empty parts and groups at its ends, which mean nothing (PS3.5 6.2.1)."""
    return "=".join(group.rstrip("^") for group in name.split("=", 2)).rstrip("=")


def _equal(field: str, found: object, expected: object) -> None:
    """The values stay out of the message: they may be the patient's."""
    if found != expected:
        raise InvalidOutput(f"ORU gate: {field} is not what the draft says")
