"""Wildcards as DICOM has them: `*` is any run of characters, `?` any one; capitals make no difference.

Source: DICOM PS3.4 C.2.2.2.4.
"""

import re
from fnmatch import translate
from functools import lru_cache

_STRANGER = "\0"  # a character that no pattern names


def is_like(value: str, pattern: str) -> bool:
    """Whether the whole value matches."""
    return _expression(pattern).match(value) is not None


def covers(pattern: str, other: str) -> bool:
    """Whether the pattern matches all that the other one does.

    What the other leaves open is filled with strangers: with none, and with more than the pattern has places for.
    """
    runs = (_STRANGER * count for count in (0, len(pattern) + 1))
    return all(is_like(other.replace("?", _STRANGER).replace("*", run), pattern) for run in runs)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    """As the shell's wildcards, whose translation does not go back and forth over a long value; `[` is no wildcard."""
    return re.compile(translate(pattern.replace("[", "[[]")), re.IGNORECASE)
