"""What a reader should be warned of in a draft: found where it is made, stored with it, shown wherever it is shown."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.product import SYNTHETIC

Span = tuple[int, int]  # of a text, in characters: where it begins, and where it has ended


class FlagKind(StrEnum):
    """Why a draft is flagged, in the order of the flags."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    REPETITION = "repetition"
    CONTRADICTION = "contradiction"
    COMPARISON = "comparison"
    MEASUREMENT = "measurement"
    UNSEEN_VIEW = "unseen_view"
    DATE = "date"
    COMMUNICATION = "communication"
    MASK = "mask"
    CROPPED = "cropped"


WORDS = {
    FlagKind.EMPTY: "has no words",
    FlagKind.TRUNCATED: "is cut short",
    FlagKind.REPETITION: "repeats itself",
    FlagKind.CONTRADICTION: "contradicts itself",
    FlagKind.COMPARISON: "compares with images not seen",
    FlagKind.MEASUREMENT: "states a size",
    FlagKind.UNSEEN_VIEW: "speaks of a view not seen",
    FlagKind.DATE: "names a date or time",
    FlagKind.COMMUNICATION: "tells of a conversation",
    FlagKind.MASK: "holds a blank",
    FlagKind.CROPPED: "is of a part of the image",
}


@dataclass(frozen=True)
class Flag:
    """One warning: a sentence for the reader, and where in the text; no span where it concerns the whole."""

    kind: FlagKind
    sentence: str
    spans: tuple[Span, ...] = ()


def flags_to_json(flags: Iterable[Flag]) -> str:
    """Short, for a database column; `flags_from_json` gives the same flags back."""
    entries = [{"flag": flag.kind.value, "says": flag.sentence, "at": flag.spans} for flag in flags]
    return json.dumps(entries, ensure_ascii=False, separators=(",", ":"))


def flags_from_json(stored: str) -> tuple[Flag, ...]:
    """Raises ValueError for a kind that this version does not know."""
    return tuple(
        Flag(FlagKind(each["flag"]), each["says"], tuple((start, end) for start, end in each["at"]))
        for each in json.loads(stored)
    )


def remark(sentence: str, flags: Iterable[Flag], *, is_synthetic: bool) -> str:
    """The sentence for whoever runs the node, with why a draft needs care; nothing of the draft's own words."""
    words = ", ".join(dict.fromkeys(WORDS[flag.kind] for flag in flags))
    return (f"{SYNTHETIC}: " if is_synthetic else "") + sentence + (f"; check: the draft {words}" if words else "")
