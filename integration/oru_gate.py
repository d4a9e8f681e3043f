"""The last look at an ORU before it leaves: hl7apy for the structure, an own tokenizer for what it says."""

from dataclasses import dataclass

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from integration.document import ReportDocument
from integration.escape import unescape
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
from integration.sr_identity import sr_sop_instance_uid

_FRAMING = b"\x0b\x1c"  # HL7 2.5.1 appendix C.4
_ORDER = ["MSH", "PID", "PV1", "ORC", "OBR", "TQ1"]  # then OBX
_LONGEST_ST = 199  # characters: hl7apy takes every OBX-5 for an ST, whatever OBX-2 says; a TX may have 65536
_HL7_NAME = (0, 1, 2, 4, 3)  # where family, given, middle, prefix and suffix of a DICOM name lie in an XPN
_GROUPS = {"": 0, "A": 0, "I": 1, "P": 2}  # XPN.8, table 0465
# What hl7apy raises on a message that it does not like, beside its own exceptions
_COMPLAINTS = (HL7apyException, ValueError, TypeError, AttributeError, LookupError)

_Segment = list[str]  # [n] is field n


@dataclass(frozen=True)
class _Message:
    """An ORU cut into fields by this module and nothing else."""

    segments: list[_Segment]

    @classmethod
    def read(cls, text: str) -> "_Message":
        return cls([_split(segment) for segment in text.removesuffix("\r").split("\r")])

    @property
    def names(self) -> list[str]:
        return [segment[0] for segment in self.segments]

    @property
    def observations(self) -> list[_Segment]:
        return self.segments[len(_ORDER) :]

    def field(self, name: str, number: int) -> str:
        """Of one of the segments that come once."""
        return _field(self.segments[_ORDER.index(name)], number)

    def values(self, code: str) -> list[str]:
        """OBX-5 of all rows with that OBX-3.1."""
        return [unescape(_field(each, 5)) for each in self.observations if _component(_field(each, 3), 1) == code]


def check_oru(payload: bytes, document: ReportDocument, destination: MllpDestination) -> None:
    """Raises InvalidOutput, naming the field, unless the bytes say this draft about this patient and study."""
    if any(byte in payload for byte in _FRAMING):
        raise InvalidOutput("ORU gate: payload has a framing character, expected none")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidOutput("ORU gate: payload is not UTF-8") from error
    message = _Message.read(text)
    _check_structure(message, text)
    _check_patient(message, document)
    _check_study(message, document)
    _check_status(message, destination)
    _check_text(message, document)


def _check_structure(message: _Message, text: str) -> None:
    _equal("segments", message.names, _ORDER + ["OBX"] * len(message.observations))
    _equal("MSH-2", message.field("MSH", 2), "^~\\&")
    _equal("MSH-18", message.field("MSH", 18), "UNICODE UTF-8")
    try:
        parse_message(_shorten(text), validation_level=VALIDATION_LEVEL.STRICT).validate()
    except _COMPLAINTS as error:  # its text quotes the value
        raise InvalidOutput(f"ORU gate: hl7apy refuses the message ({type(error).__name__})") from error


def _shorten(text: str) -> str:
    """The message with long texts cut, for hl7apy alone: what they say is checked by `_check_text`."""
    segments = [segment.split("|") for segment in text.split("\r")]
    for segment in segments:
        if segment[0] == "OBX" and _field(segment, 2) == "TX" and len(segment) > 5:
            segment[5] = segment[5][:_LONGEST_ST]
    return "\r".join("|".join(segment) for segment in segments)


def _check_patient(message: _Message, document: ReportDocument) -> None:
    header = SourceHeader.of(document.evidence)
    identifier = message.field("PID", 3)
    _equal("PID-3", "~" in identifier, False)
    _equal("PID-3.1", _component(identifier, 1), header.text("PatientID"))
    _equal("PID-3.4", _component(identifier, 4), _authority(header))
    _equal("PID-5", _read_name(message.field("PID", 5)), _plain_name(header.text("PatientName")))
    _equal("PID-7", message.field("PID", 7), header.text("PatientBirthDate"))
    _equal("PID-8", message.field("PID", 8), header.text("PatientSex"))


def _check_study(message: _Message, document: ReportDocument) -> None:
    header = SourceHeader.of(document.evidence)
    order = read_order(document)
    for name in ("ORC", "OBR"):
        _equal(f"{name}-2", _entity(message.field(name, 2)), order.placer)
        _equal(f"{name}-3", _entity(message.field(name, 3)), order.filler)
    _equal("OBR-18", unescape(message.field("OBR", 18)), order.accession)
    _equal("OBX-5, study", message.values(STUDY_INSTANCE_UID.value), [header.text("StudyInstanceUID")])
    _equal("OBX-5, SR", message.values(SR_SOP_INSTANCE_UID.value), [sr_sop_instance_uid(document)])


def _check_status(message: _Message, destination: MllpDestination) -> None:
    """P or R and nothing else; O on the rows that name objects; no person answers for any of it."""
    status = destination.result_status
    _equal("result_status", status in DRAFT_STATUSES, True)
    _equal("OBR-25", message.field("OBR", 25), status)
    _equal("OBR-32", message.field("OBR", 32), "")
    for observation in message.observations:
        expected = status if _field(observation, 2) == "TX" else UID_STATUS
        _equal("OBX-11", _field(observation, 11), expected)
        _equal("OBX-16", _field(observation, 16), "")


def _check_text(message: _Message, document: ReportDocument) -> None:
    """Every TX row is findings, the opening comes first, and no line is lost, added or changed."""
    texts = [unescape(_field(each, 5)) for each in message.observations if _field(each, 2) == "TX"]
    _equal("OBX-3", message.values(FINDINGS.value), texts)
    draft = [line for line in split_lines(document.findings) if line]
    _equal("OBX-5, disclaimer", texts[:1], [" ".join(split_lines(document.opening))])
    _equal("OBX-5, findings", texts[1 : 1 + len(draft)], draft)
    _equal("OBX-5, checks", texts[1 + len(draft) :], list(check_lines(document.flags)))


def _split(segment: str) -> _Segment:
    """MSH-1 is the separator itself, so MSH fields are counted from there."""
    fields = segment.split("|")
    return ["MSH", "|", *fields[1:]] if fields[0] == "MSH" else fields


def _field(segment: _Segment, number: int) -> str:
    return segment[number] if number < len(segment) else ""


def _component(field: str, number: int) -> str:
    parts = field.split("^")
    return unescape(parts[number - 1]) if number <= len(parts) else ""


def _entity(field: str) -> tuple[str, ...]:
    return tuple(map(unescape, field.split("^"))) if field else ()


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
        parts = [_component(repetition, 1 + position) for position in _HL7_NAME]
        groups[_GROUPS.get(_component(repetition, 8), 0)] = "^".join(parts)
    return _plain_name("=".join(groups))


def _plain_name(name: str) -> str:
    """A name without the empty parts and groups at its ends, which mean nothing (PS3.5 6.2.1)."""
    return "=".join(group.rstrip("^") for group in name.split("=", 2)).rstrip("=")


def _equal(field: str, found: object, expected: object) -> None:
    """The values stay out of the message: they may be the patient's."""
    if found != expected:
        raise InvalidOutput(f"ORU gate: {field} is not what the draft says")
