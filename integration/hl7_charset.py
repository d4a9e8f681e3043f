"""What the bytes of an HL7 message mean: MSH-18, or what the site says of senders that leave it out.

Strict: a byte that is no text in the declared set refuses the message. Nothing is ever replaced.
"""

import re

from integration.acknowledgement import DATA_TYPE_ERROR, TABLE_VALUE_NOT_FOUND, Refused, error
from integration.er7 import BYTE_ORDER_MARK, Segment

# HL7 table 0211, and what senders write instead; without blanks, hyphens and underscores.
_CODECS = {
    **dict.fromkeys(("ASCII", "USASCII", "ISOIR6", "ISOIR006"), "ascii"),
    **{f"8859/{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    **{f"ISO8859{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    "ISOIR100": "iso8859_1",
    **dict.fromkeys(("UNICODEUTF8", "UNICODE", "UTF8", "ISOIR192"), "utf_8"),
    **dict.fromkeys(("WINDOWS1252", "CP1252"), "cp1252"),
    **dict.fromkeys(("ISOIR14", "ISOIR87", "ISOIR159"), "iso2022_jp_ext"),
    "GB180302000": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
}
_ISO_2022 = "iso2022_jp_ext"
_NO_TEXT = re.compile("[\0\x80-\x9f]")  # C1 controls are in no HL7 text: the bytes are of another set


def codec_of(character_sets: str) -> str | None:
    """The codec of an MSH-18 (one term, or several joined by `~`); None for a term that is unknown."""
    terms = [re.sub(r"[\s_-]", "", term).upper() for term in character_sets.split("~")]
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
