"""What an ORU says in words, and the OBX-5 that hold it: TX, FT or ED (HL7 2.5.1 2.A.78, 2.A.31, 2.A.24)."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence

from pydicom.sr.coding import Code

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from integration.document import ReportDocument
from integration.escape import escape, escape_lines, unescape, unescape_lines
from integration.hl7_charset import decode_text, encode_text
from integration.oru_terms import FINDINGS
from integration.report_text import check_lines, replacement_line, split_lines
from integration.sr_content import REPORT

# ED-2 to ED-4: tables 0191, 0291, 0299
_PLAIN_TEXT = ("TEXT", "plain", "Base64")
_LINE_END = "\r\n"  # RFC 2046 4.1.1, of text/plain


def opening_lines(document: ReportDocument) -> tuple[str, ...]:
    """What comes before the draft: that nobody has reviewed it, and what it replaces."""
    opening = " ".join(split_lines(document.opening))
    before = document.predecessor
    return (opening, replacement_line(before.drafted_at, document.time_zone)) if before else (opening,)


def draft_lines(document: ReportDocument) -> tuple[str, ...]:
    """The opening, the draft, what to check in it. An empty line within the draft is a line."""
    return (*opening_lines(document), *split_lines(document.findings), *check_lines(document.flags))


def text_code(destination: MllpDestination) -> Code:
    """OBX-3 of the text: a document that is encapsulated is a report."""
    return REPORT if destination.text_type == "ED" else FINDINGS


def text_values(lines: Sequence[str], document: ReportDocument, destination: MllpDestination) -> tuple[str, ...]:
    """OBX-5 of the rows of a text, escaped; as TX a row for each line that is not empty, else one row.

    Raises InvalidOutput if an ED would have a character that the set of the message does not hold.
    """
    if destination.text_type == "TX":
        return tuple(escape(line) for line in lines if line)
    if destination.text_type == "FT":
        return (escape_lines(lines),)
    data = b64encode(encode_text(_LINE_END.join(lines), destination.character_set)).decode("ascii")
    return ("^".join((escape(document.sending_application), *_PLAIN_TEXT, data)),)


def read_values(values: Sequence[str], destination: MllpDestination) -> list[str]:
    """The lines that `text_values` was given, of a TX those that are not empty. Raises InvalidOutput for no text."""
    if destination.text_type == "TX":
        return [unescape(value) for value in values]
    if len(values) != 1:
        raise InvalidOutput(f"ORU: {len(values)} rows of text, expected one {destination.text_type}")
    if destination.text_type == "FT":
        return unescape_lines(values[0])
    _, *kind, data = values[0].split("^")
    if tuple(kind) != _PLAIN_TEXT:
        raise InvalidOutput("ORU: OBX-5 is no ED of plain text")
    try:
        return decode_text(b64decode(data, validate=True), destination.character_set).split(_LINE_END)
    except binascii.Error as error:
        raise InvalidOutput("ORU: OBX-5 is not Base64") from error
