"""What bytes in a DICOM character set mean, and what a set can hold (PS3.3 C.12.1.1.2, PS3.5 6.1).

pydicom knows the code tables; here lies what it leaves open: misspelt and unknown terms, bytes that are not in the set
they claim, and the question whether a text can be written without a single replacement.
"""

import re

from pydicom.charset import decode_bytes, encode_string, python_encoding

Terms = tuple[str, ...]  # values of (0008,0005); empty when it is absent or empty

UTF_8: Terms = ("ISO_IR 192",)
_WITHOUT_EXTENSIONS = ("ISO_IR 192", "GB18030", "GBK")  # PS3.3 C.12.1.1.2: never one of several
_DEFAULT_CODEC = python_encoding["ISO_IR 6"]  # pydicom's name for it; it decodes as Latin-1
_JIS_CODEC = python_encoding["ISO_IR 13"]
_EXTENSIBLE = "ISO 2022"  # PS3.5 6.1.2.5: only these switch codes by escapes
_ESCAPE = b"\x1b"
_DELIMITERS = {ord(character) for character in "\r\n\t\f^="}  # PS3.5 6.1.2.5.3: code extensions end here
_REPLACEMENT = "\ufffd"
_NOT_JIS = frozenset("\\~")  # JIS X 0201 has ¥ and an overline in their places
_HALF_WIDTH_KATAKANA = ("\uff61", "\uff9f")
# PS3.3 C.12.1.1.2: sets of two bytes for a character, without ASCII, and the escape that begins them
_JAPANESE = {python_encoding["ISO 2022 IR 87"]: b"\x1b$B", python_encoding["ISO 2022 IR 159"]: b"\x1b$(D"}


def parse_terms(specific_character_set: str) -> Terms:
    """Split (0008,0005), mend usual misspellings (`ISO IR 100`, `ISO-IR 100`) and drop what may not be combined."""
    terms = [_mend(term) for term in specific_character_set.split("\\")]
    if terms[0] in _WITHOUT_EXTENSIONS:
        return (terms[0],)
    terms = [term for term in terms if term not in _WITHOUT_EXTENSIONS]
    return tuple(terms) if any(terms) else ()


def is_known(terms: Terms) -> bool:
    return all(term in python_encoding for term in terms)


def decode(value: bytes, terms: Terms) -> str:
    """Read text. Bytes that are not in the declared set are read as Latin-1: no byte is ever lost."""
    codecs = _codecs(terms)
    if _ESCAPE in value and any(term.startswith(_EXTENSIBLE) for term in terms):
        text = decode_bytes(value, codecs, _DELIMITERS)
        return value.decode("latin-1") if _REPLACEMENT in text else text
    try:
        return value.decode(codecs[0])
    except UnicodeDecodeError:
        return value.decode("latin-1")


def holds(terms: Terms, text: str, *, is_name: bool) -> bool:
    """Say whether the set encodes the text strictly. Each component of a name may use another code (PS3.5 6.2.1)."""
    codecs = _codecs(terms)
    if codecs[0] in _JAPANESE or (_JIS_CODEC in codecs and not _NOT_JIS.isdisjoint(text)):
        return False
    parts = re.split(r"[\^=]", text) if is_name else [text]
    return all(any(_encodes(codec, part) for codec in codecs) and _comes_back(part, terms) for part in parts)


def _mend(term: str) -> str:
    term = term.strip(" \0")
    found = re.fullmatch(r"ISO.(IR|2022.IR).?(\d+)", term, re.IGNORECASE)
    if not found:
        return term
    return f"ISO_IR {found[2]}" if found[1].upper() == "IR" else f"ISO 2022 IR {found[2]}"


def _codecs(terms: Terms) -> list[str]:
    return [python_encoding.get(term, _DEFAULT_CODEC) for term in terms] or [_DEFAULT_CODEC]


def _comes_back(text: str, terms: Terms) -> bool:
    """pydicom leaves an escape out where ASCII comes before some sets of two bytes for a character."""
    return decode(encode_string(text, _codecs(terms)), terms) == text


def _encodes(codec: str, text: str) -> bool:
    if codec == _DEFAULT_CODEC:
        return text.isascii()
    if codec == _JIS_CODEC:  # Python's is Shift JIS and holds more; pydicom writes one half of ISO_IR 13 at once
        first, last = _HALF_WIDTH_KATAKANA
        return text.isascii() or all(first <= character <= last for character in text)
    try:
        if codec in _JAPANESE:  # Python's codecs switch to further sets, which were not declared
            return all(each.isascii() or each.encode(codec).startswith(_JAPANESE[codec]) for each in text)
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
