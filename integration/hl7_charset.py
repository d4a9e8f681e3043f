"""What the bytes of an HL7 message mean, both ways: MSH-18, or what the site says of senders that leave it out.

Strict: a byte that is no text in the declared set refuses the message, and so does a character that the set does not
hold. Nothing is ever replaced, nor written as a hexadecimal escape or one that switches the set (HL7 2.5.1 2.7.2):
receivers do not read these alike.
"""

import re
from collections.abc import Mapping

from dicom_node.errors import InvalidOutput
from integration.acknowledgement import DATA_TYPE_ERROR, TABLE_VALUE_NOT_FOUND, Refused, error
from integration.er7 import BYTE_ORDER_MARK, Segment

_ISO_2022 = "iso2022_jp_ext"
# HL7 table 0211, and three that are not in it but are in use: the codec of each
CHARACTER_SETS: Mapping[str, str] = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    "UNICODE UTF-8": "utf_8",
    "ISO IR6": "ascii",
    **dict.fromkeys(("ISO IR14", "ISO IR87", "ISO IR159"), _ISO_2022),
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "ISO IR100": "iso8859_1",
    "ISO IR192": "utf_8",
    "WINDOWS-1252": "cp1252",
}
# What senders write instead; without blanks, hyphens and underscores
_MISSPELT = {
    **dict.fromkeys(("USASCII", "ISOIR006"), "ascii"),
    **{f"ISO8859{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    **dict.fromkeys(("UNICODE", "UTF8"), "utf_8"),
    "CP1252": "cp1252",
}
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}\|")
_NO_TEXT = re.compile("[\0\x80-\x9f]")  # C1 controls are in no HL7 text: the bytes are of another set


def _bare(term: str) -> str:
    return re.sub(r"[\s_-]", "", term).upper()


_CODECS = _MISSPELT | {_bare(term): codec for term, codec in CHARACTER_SETS.items()}


def codec_of(character_sets: str) -> str | None:
    """The codec of an MSH-18 (one term, or several joined by `~`); None for a term that is unknown."""
    terms = [_bare(term) for term in character_sets.split("~")]
    codecs = [_CODECS.get(term) for term in terms if term]
    if not codecs or None in codecs:
        return None
    return _ISO_2022 if _ISO_2022 in codecs else codecs[0]


def decode_message(raw: bytes, header: Segment, site_character_set: str) -> str:
    """The text of a message from its MSH on. Raises Refused where the set is unknown or the bytes are not in it."""
    declared = header.delimiters.repetition.join(header.repetitions(18))
    if not declared and raw.startswith(BYTE_ORDER_MARK):
        declared = "UTF-8"
    codec = codec_of((declared or site_character_set).replace(header.delimiters.repetition, "~"))
    if codec is None:
        raise error(TABLE_VALUE_NOT_FOUND, "MSH^1^18", "expected a character set of HL7 table 0211")
    try:
        text = raw.removeprefix(BYTE_ORDER_MARK).lstrip().decode(codec)
    except UnicodeDecodeError as cause:
        raise _no_text() from cause
    if _NO_TEXT.search(text):
        raise _no_text()
    return text


def _no_text() -> Refused:
    return error(DATA_TYPE_ERROR, "MSH^1^18", "bytes that are no text in the message's character set")


def encode_text(text: str, character_set: str) -> bytes:
    """Write an outbound text. Raises InvalidOutput, with no word of the text, if the set does not hold it."""
    try:
        return text.encode(_codec(character_set))
    except UnicodeEncodeError as error:
        begin = text.rfind("\r", 0, error.start) + 1
        where = text[begin : begin + 3] if _SEGMENT.match(text, begin) else "the text"
        raise InvalidOutput(
            f"ORU: {where} has a character that {character_set} (MSH-18) does not hold, expected none"
        ) from error


def decode_text(raw: bytes, character_set: str) -> str:
    """Read an outbound text back. Raises InvalidOutput if the bytes are not in the set."""
    try:
        return raw.decode(_codec(character_set))
    except UnicodeDecodeError as error:
        raise InvalidOutput(f"ORU: bytes that are no text in {character_set} (MSH-18)") from error


def _codec(character_set: str) -> str:
    if codec := codec_of(character_set):
        return codec
    raise InvalidOutput(f"ORU: MSH-18 = {character_set}, expected a set of HL7 table 0211")
