"""What a labeller found in a draft: kept with the report, told to machines in the findings object.

A labeller reads the text, not the image; whoever shows its labels names it.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from pydicom.sr.coding import Code


class Presence(StrEnum):
    """PS3.16 CID 240."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"  # the text leaves it open: "may represent"


class Laterality(StrEnum):
    """PS3.16 CID 244, as far as it is about pairs; the patient's side."""

    RIGHT = "right"
    LEFT = "left"
    BILATERAL = "bilateral"
    UNSAID = ""


@dataclass(frozen=True)
class Labeller:
    """Who read the labels from the text; another digest, other rules."""

    name: str
    version: str
    digest: str  # 64 hex digits


@dataclass(frozen=True)
class Label:
    """One finding of the text, and the sentence that says it."""

    finding: Code
    presence: Presence
    laterality: Laterality
    sentence: str


@dataclass(frozen=True)
class Labels:
    """All of one draft: at most one label for each finding."""

    labeller: Labeller
    labels: tuple[Label, ...]


def labels_to_json(labels: Labels) -> str:
    """Short, for a database column; `labels_from_json` gives the same labels back."""
    entries = [
        {
            "finding": [label.finding.value, label.finding.scheme_designator, label.finding.meaning],
            "presence": label.presence.value,
            "laterality": label.laterality.value,
            "says": label.sentence,
        }
        for label in labels.labels
    ]
    stored = {"labeller": vars(labels.labeller), "labels": entries}
    return json.dumps(stored, ensure_ascii=False, separators=(",", ":"))


def labels_from_json(stored: str) -> Labels | None:
    """None for the empty string: no labeller was asked."""
    if not stored:
        return None
    found = json.loads(stored)
    labels = (
        Label(Code(*each["finding"]), Presence(each["presence"]), Laterality(each["laterality"]), each["says"])
        for each in found["labels"]
    )
    return Labels(Labeller(**found["labeller"]), tuple(labels))
