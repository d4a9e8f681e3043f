"""One HL7 message from its bytes to what it says, or to a refusal by name (HL7 2.5.1 2.9.2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from dicom_node.config import Settings
from dicom_node.peers import Hl7Paths
from integration.acknowledgement import (
    DATA_TYPE_ERROR,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    UNSUPPORTED_EVENT,
    UNSUPPORTED_MESSAGE_TYPE,
    UNSUPPORTED_PROCESSING_ID,
    UNSUPPORTED_VERSION,
    error,
    rejection,
)
from integration.er7 import Message, Segment
from integration.hl7_charset import decode_message
from integration.order_message import read_orders
from integration.patient_message import read_merges, read_update
from integration.reading import LONGEST_IDENTIFIER, Reading
from integration.report_message import read_finals

# By message type and event (MSH-9.1, MSH-9.2)
READERS: Mapping[str, Mapping[str, Callable[[Message, Hl7Paths], Reading]]] = {
    "ORM": {"O01": read_orders},
    "OMI": {"O23": read_orders},
    "OMG": {"O19": read_orders},
    "ORU": {"R01": read_finals},
    "ADT": {**dict.fromkeys(("A08", "A31"), read_update), **dict.fromkeys(("A18", "A34", "A40", "A47"), read_merges)},
}
MOST_DELIMITERS = 1_000_000


IDENTITY = ("sending_application", "sending_facility", "control_id", "sha256")  # what makes a message the same


@dataclass(frozen=True)
class Received:
    """A message that can be worked in."""

    raw: bytes
    sending_application: str  # MSH-3
    sending_facility: str  # MSH-4
    control_id: str  # MSH-10
    message_type: str
    reading: Reading

    @cached_property
    def sha256(self) -> str:
        return sha256(self.raw).hexdigest()


def read_message(raw: bytes, header: Segment | None, settings: Settings) -> Received:
    """Raises Refused. header: `er7.read_header` of the same bytes."""
    if header is None:
        raise rejection(SEGMENT_SEQUENCE_ERROR, "MSH^1", "expected a message that begins with MSH")
    _check_size(raw, header)
    kind, event = _message_type(header)
    _check_version(header)
    _check_processing_id(header, settings)
    message = Message.of(decode_message(raw, header, settings.hl7_character_set))
    if any(segment.name == "MSH" for segment in message.segments[1:]):  # of whom would what follows be?
        raise error(SEGMENT_SEQUENCE_ERROR, "MSH^2", "expected one message")
    control_id = _name(message, 10)
    if not control_id:
        raise error(REQUIRED_FIELD_MISSING, "MSH^1^10", "expected a message control ID")
    reading = READERS[kind][event](message, settings.hl7_paths)
    return Received(raw, _name(message, 3), _name(message, 4), control_id, f"{kind}^{event}", reading)


def _check_size(raw: bytes, header: Segment) -> None:
    """Each piece that is cut out costs memory, however short it is."""
    marks = vars(header.delimiters).values()
    if sum(raw.count(mark.encode("latin-1")) for mark in (*marks, "\r", "\n")) > MOST_DELIMITERS:
        raise error(DATA_TYPE_ERROR, "", f"expected {MOST_DELIMITERS} delimiters at most")


def _message_type(header: Segment) -> tuple[str, str]:
    """MSH-9.1 and its event; older senders leave out the only event there is."""
    kind, event = header.component(9, 1), header.component(9, 2)
    events = READERS.get(kind)
    if events is None:
        raise rejection(UNSUPPORTED_MESSAGE_TYPE, "MSH^1^9", f"expected one of {', '.join(READERS)}")
    if not event and len(events) == 1:
        (event,) = events
    if event not in events:
        raise rejection(UNSUPPORTED_EVENT, "MSH^1^9", f"expected {kind} of one of {', '.join(events)}")
    return kind, event


def _check_version(header: Segment) -> None:
    """Of any version 2 the same fields are read; a sender that says none is taken at its word."""
    version = header.component(12)
    if version and version.split(".")[0] != "2":
        raise rejection(UNSUPPORTED_VERSION, "MSH^1^12", "expected HL7 version 2")


def _check_processing_id(header: Segment, settings: Settings) -> None:
    """A test feed must not reach patients."""
    processing_id = header.component(11) or settings.processing_id
    if processing_id != settings.processing_id:
        raise rejection(UNSUPPORTED_PROCESSING_ID, "MSH^1^11", f"expected {settings.processing_id}")


def _name(message: Message, number: int) -> str:
    """The whole field as one text: who sent it may be named by several components."""
    name = message.header.plain(message.header.field(number))
    if len(name) > LONGEST_IDENTIFIER:
        raise error(DATA_TYPE_ERROR, f"MSH^1^{number}", f"expected {LONGEST_IDENTIFIER} characters at most")
    return name
