"""A draft's words with those marked that a flag is about."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dicom_node.flags import Flag


@dataclass(frozen=True)
class Piece:
    """Some of the text, from one border of a flag to the next."""

    text: str
    is_marked: bool


def mark_flagged(text: str, flags: Iterable[Flag]) -> Sequence[Piece]:
    """All of the text, in order."""
    spans = [span for flag in flags for span in flag.spans]
    borders = sorted({0, len(text), *(min(border, len(text)) for span in spans for border in span)})
    return [
        Piece(text[start:end], any(first <= start and end <= last for first, last in spans))
        for start, end in pairwise(borders)
    ]
