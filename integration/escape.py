"""HL7 v2 escapes for text within a field (HL7 2.5.1 §2.7). Formatting escapes are not ours to write."""

import re

from integration.report_text import clean

# One pass over the characters escapes "the backslash first" by construction.
_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_TABLE = str.maketrans(_ESCAPES)
_MEANINGS = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPE = re.compile(r"\\[EFSTR]\\")


def escape(text: str) -> str:
    """Make text safe in any component; control characters, which would break segments and frames, are dropped."""
    return clean(text).translate(_TABLE)


def unescape(text: str) -> str:
    """The text that `escape` was given. Other escape sequences stay as they are."""
    return _ESCAPE.sub(lambda found: _MEANINGS[found[0]], text)
