"""The one normalisation between what the model wrote and what is sent; SR and ORU share it."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime, tzinfo

_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_FORBIDDEN = ("Cc", "Cs")  # control characters frame messages and switch codes; lone surrogates have no encoding


def split_lines(text: str) -> tuple[str, ...]:
    """Cut a text into lines: no control characters, a space for a tab, no blanks at line ends, no empty outer lines."""
    lines = [clean(line.replace("\t", " ")).rstrip() for line in _LINE_ENDS.split(text)]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return tuple(lines)


def check_lines(flags: Iterable[str]) -> tuple[str, ...]:
    """One line for each flag. The draft it warns of stays as the model wrote it."""
    return tuple(" ".join(split_lines(f"Check: {flag}")) for flag in flags)


def clean(text: str) -> str:
    """Drop control characters (C0, DEL, C1) and lone surrogates; everything else stays as it is."""
    if text.isprintable():  # then it has none, and most texts are
        return text
    return "".join(character for character in text if unicodedata.category(character) not in _FORBIDDEN)


def replacement_line(drafted_at: datetime, zone: tzinfo) -> str:
    """What a later draft says of the one before it.

    drafted_at: aware, of the draft before. zone: of the site.
    """
    return f"Replaces the AI draft of {_local(drafted_at, zone)}."


def withdrawal_line(drafted_at: datetime, zone: tzinfo) -> str:
    """What is said in the place of a draft that is withdrawn. Arguments as of `replacement_line`, of that draft."""
    return f"WITHDRAWN: the AI draft of {_local(drafted_at, zone)} is not to be used."


def _local(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")
