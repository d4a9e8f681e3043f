"""What a message is answered: accepted or refused, in the mode that its sender asks for (HL7 2.5.1 2.9, 2.14)."""

import re
from datetime import datetime

from dicom_node.errors import Permanent
from dicom_node.uids import derive_control_id
from integration.er7 import Delimiters, Segment

# HL7 table 0357, message error condition
SEGMENT_SEQUENCE_ERROR = "100"
REQUIRED_FIELD_MISSING = "101"
DATA_TYPE_ERROR = "102"
TABLE_VALUE_NOT_FOUND = "103"
UNSUPPORTED_MESSAGE_TYPE = "200"
UNSUPPORTED_EVENT = "201"
UNSUPPORTED_PROCESSING_ID = "202"
UNSUPPORTED_VERSION = "203"
INTERNAL_ERROR = "207"

CONDITIONS = {
    SEGMENT_SEQUENCE_ERROR: "Segment sequence error",
    REQUIRED_FIELD_MISSING: "Required field missing",
    DATA_TYPE_ERROR: "Data type error",
    TABLE_VALUE_NOT_FOUND: "Table value not found",
    UNSUPPORTED_MESSAGE_TYPE: "Unsupported message type",
    UNSUPPORTED_EVENT: "Unsupported event code",
    UNSUPPORTED_PROCESSING_ID: "Unsupported processing id",
    UNSUPPORTED_VERSION: "Unsupported version id",
    INTERNAL_ERROR: "Application internal error",
}
# The second letter of MSA-1 (table 0008)
_ACCEPTED, _ERROR, _REJECTED = "A", "E", "R"
# When a message is refused, and with which of both.
REFUSALS = (
    (_ERROR, SEGMENT_SEQUENCE_ERROR, "a segment is missing that the message is about"),
    (_ERROR, REQUIRED_FIELD_MISSING, "no MSH-10, PID-3 or MRG-1; nothing identifies the order or the report"),
    (
        _ERROR,
        DATA_TYPE_ERROR,
        "bytes that are no text in the character set; an identifier that is too long, or too many of a patient; no UID "
        "where one should be; too many delimiters; too many bytes, then the connection ends",
    ),
    (_ERROR, TABLE_VALUE_NOT_FOUND, "MSH-18 is unknown"),
    (_ERROR, INTERNAL_ERROR, "a fault of this program"),
    (_REJECTED, SEGMENT_SEQUENCE_ERROR, "no message: no MSH"),
    (_REJECTED, UNSUPPORTED_MESSAGE_TYPE, "a message type that is not taken"),
    (_REJECTED, UNSUPPORTED_EVENT, "an event that is not taken"),
    (_REJECTED, UNSUPPORTED_PROCESSING_ID, "MSH-11 is another than `processing_id`"),
    (_REJECTED, UNSUPPORTED_VERSION, "not version 2"),
    (_REJECTED, INTERNAL_ERROR, "the database is away, or too much comes at once: send again"),
)
# Table 0155: when an answer is wanted. What is not in it is read as AL: a sender that waits must not wait in vain.
_WANTED = {"NE": "", "SU": _ACCEPTED, "ER": _ERROR + _REJECTED}
_ALWAYS = _ACCEPTED + _ERROR + _REJECTED
_EVENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_NO_HEADER = Segment(["MSH", "|", "^~\\&"], Delimiters())


class Refused(Permanent):
    """A message that is not taken. Its words, as all of the answer, are free of what the message says."""

    def __init__(self, letter: str, condition: str, location: str, words: str) -> None:
        """letter: of MSA-1. condition: of table 0357. location: ERR-2, segment, sequence and field; empty for none."""
        super().__init__(
            f"{condition} {CONDITIONS[condition]}" + (f" at {location}: {words}" if location else f": {words}")
        )
        self.letter = letter
        self.condition = condition
        self.location = location
        self.words = words


def error(condition: str, location: str, words: str) -> Refused:
    """AE: the message has a fault, and would have it again."""
    return Refused(_ERROR, condition, location, words)


def rejection(condition: str, location: str, words: str) -> Refused:
    """AR: not for what the message says, but for what it is, or because it cannot be taken now."""
    return Refused(_REJECTED, condition, location, words)


def acknowledge(header: Segment | None, refused: Refused | None, now: datetime) -> bytes | None:
    """The acknowledgement of a message, without its frame; None where its sender wants none.

    header: MSH as Latin-1, which gives the bytes of its fields back as they came. Source: HL7 2.5.1 2.9.2, 2.9.3.
    """
    header = header or _NO_HEADER
    code = _code(header, refused.letter if refused else _ACCEPTED)
    if code is None:
        return None
    segments = [_header(header, now), _msa(header, code, refused)]
    if refused:
        segments.append(_err(header, refused))
    return "".join(f"{segment}\r" for segment in segments).encode("latin-1")


def _code(header: Segment, letter: str) -> str | None:
    """MSA-1. Original mode when MSH-15 and MSH-16 are empty, else enhanced: one answer, of the level that is wanted."""
    accept, application = header.component(15), header.component(16)
    if not accept and not application:
        return f"A{letter}"
    if letter in _WANTED.get(accept, _ALWAYS):
        return f"C{letter}"
    # What is taken has been worked in, too, so the application's answer is known.
    return f"A{letter}" if accept == "NE" and application and letter in _WANTED.get(application, _ALWAYS) else None


def _header(header: Segment, now: datetime) -> str:
    """Who was called answers whoever called, in the same delimiters, version and character set."""
    marks = header.delimiters
    event = header.component(9, 2)
    event = f"{event}{marks.component}" if _EVENT.fullmatch(event) else ""
    control_id = derive_control_id("ack", header.field(10), now.isoformat())
    fields = {
        2: header.field(2),
        3: header.field(5),
        4: header.field(6),
        5: header.field(3),
        6: header.field(4),
        7: now.strftime("%Y%m%d%H%M%S%z"),
        9: f"ACK{marks.component}{event}ACK" if event else "ACK",
        10: control_id,
        11: header.field(11) or "P",
        12: header.field(12) or "2.5.1",
        18: header.field(18),
    }
    values = [fields.get(number, "") for number in range(2, max(fields) + 1)]
    return "MSH" + marks.field + marks.field.join(values).rstrip(marks.field)


def _msa(header: Segment, code: str, refused: Refused | None) -> str:
    fields = ["MSA", code, header.field(10), refused.words if refused else ""]
    return header.delimiters.field.join(fields).rstrip(header.delimiters.field)


def _err(header: Segment, refused: Refused) -> str:
    """ERR-2 location, ERR-3 code, ERR-4 severity, ERR-8 in words. Source: HL7 2.5.1 2.15.5."""
    marks = header.delimiters
    condition = marks.component.join((refused.condition, CONDITIONS[refused.condition], "HL70357"))
    location = refused.location.replace("^", marks.component)
    return marks.field.join(("ERR", "", location, condition, "E", "", "", "", refused.words))
