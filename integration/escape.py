"""HL7 v2 escapes for text within a field (HL7 2.5.1 §2.7). Of formatting escapes only the line break is written."""

import re
from collections.abc import Iterable

from integration.report_text import clean

LINE_BREAK = "\\.br\\"  # between the lines of an FT (HL7 2.5.1 2.7.6)

# One pass over the characters escapes "the backslash first" by construction.
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_TABLE = str.maketrans(_ESCAPES)
_MEANINGS = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPE = re.compile(r"\\[EFSTR]\\")
_ESCAPE_OR_BREAK = re.compile(r"\\(?:[EFSTR]|\.br)\\")


def escape(text: str) -> str:
    """Make text safe in any component; control characters, which would break segments and frames, are dropped."""
    return clean(text).translate(_TABLE)


def unescape(text: str) -> str:
    """The text that `escape` was given. Other escape sequences stay as they are."""
    return _ESCAPE.sub(lambda found: _MEANINGS[found[0]], text)


def escape_lines(lines: Iterable[str]) -> str:
    """An FT value."""
    return LINE_BREAK.join(map(escape, lines))


def unescape_lines(text: str) -> list[str]:
    """The lines that `escape_lines` was given. One pass: a backslash of the text does not make a line break."""
    breaks = {LINE_BREAK: "\n"}
    return _ESCAPE_OR_BREAK.sub(lambda found: (_MEANINGS | breaks)[found[0]], text).split("\n")
