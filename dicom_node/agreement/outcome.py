"""What comes of one finding when a draft is laid beside the signed report, and how that is said."""

from enum import StrEnum

from dicom_node.labels import Label, Laterality, Presence
from dicom_node.models import FindingAgreement

_NOT_NAMED = ""  # in place of a Presence


class Outcome(StrEnum):
    """Of a finding that at least one of them says is there. "There may be" is not "there is"."""

    AGREED = "agreed"
    SIDE_DIFFERS = "side differs"  # both say it is there, and name different sides
    MISSED = "missed"  # the radiologist says it is there, the draft does not
    ADDED = "added"  # the draft says it is there, the radiologist does not


def agreement_on(
    finding: str, draft: Label | None, final: Label | None, *, agreement_id: int
) -> FindingAgreement | None:
    """The row of a finding; None: neither says that it is there."""
    outcome = _outcome(draft, final)
    if outcome is None:
        return None
    (in_draft, draft_side), (in_final, final_side) = map(_said, (draft, final))
    return FindingAgreement(
        agreement_id=agreement_id,
        finding=finding,
        outcome=outcome,
        draft=in_draft,
        draft_side=draft_side,
        final=in_final,
        final_side=final_side,
    )


def _outcome(draft: Label | None, final: Label | None) -> Outcome | None:
    """A side that only one of them names differs from nothing."""
    in_draft, in_final = (each is not None and each.presence is Presence.PRESENT for each in (draft, final))
    if draft and final and in_draft and in_final:
        sides = {draft.laterality, final.laterality} - {Laterality.UNSAID}
        return Outcome.SIDE_DIFFERS if len(sides) > 1 else Outcome.AGREED
    if in_final:
        return Outcome.MISSED
    return Outcome.ADDED if in_draft else None


def _said(label: Label | None) -> tuple[str, str]:
    return (label.presence.value, label.laterality.value) if label else (_NOT_NAMED, Laterality.UNSAID.value)


def in_words(presence: str, side: str) -> str:
    """What one text says: `there, left`."""
    words = {Presence.PRESENT: "there", Presence.ABSENT: "not there", Presence.UNDETERMINED: "left open"}
    said = words[Presence(presence)] if presence else "not named"
    return f"{said}, {side}" if side else said


def is_contradicted(row: FindingAgreement) -> bool:
    """Whether one says that it is there and the other that it is not."""
    return Presence.ABSENT in (row.draft, row.final)


def conclusion(row: FindingAgreement) -> str:
    """What came of it, in words."""
    words = {
        Outcome.AGREED: "Both say so",
        Outcome.SIDE_DIFFERS: "The sides differ",
        Outcome.MISSED: "The draft denies it" if is_contradicted(row) else "The draft misses it",
        Outcome.ADDED: "The radiologist denies it" if is_contradicted(row) else "The draft alone says so",
    }
    return words[Outcome(row.outcome)]
