"""What one sentence says of the findings that it names: there, not there, or left open, and on which side."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dicom_node.labels import Laterality, Presence
from workers.labelling.findings import FINDINGS, PARAPHRASES, Finding, any_of


@dataclass(frozen=True)
class Mention:
    """One finding in one sentence."""

    finding: Finding
    presence: Presence
    laterality: Laterality


@dataclass(frozen=True)
class _Place:
    """Where a clause names a finding."""

    finding: Finding
    start: int
    end: int


# Where what was said before no longer reaches: the next clause begins here.
_CLAUSE_END = re.compile(
    r"[;:]"
    r"|\b(?:but|however|al?though|though|while|whereas|except|other than|aside from|apart from|without)\b"
    r"|,? (?:with|and)(?= (?:there|an?|the|no)\b)"
    r"|,(?= (?:there|an?|no)\b)"
    r"|(?:,|\band\b)\s*(?=(?:small|tiny|trace|mild|moderate|severe|minimal|left|right|bilateral)\b)",
    re.IGNORECASE,
)
# "No change of the effusion", "cannot be excluded": words of denial that deny no finding.
_NO_DENIAL = any_of(
    r"(?:no|not|without)(?: \w+){0,2} (?:chang\w+|increas\w+|decreas\w+|difference)", r"unchanged", r"not only"
)
_DENIED_BEFORE = any_of(
    "no", "not", "without", "never", "absen(?:t|ce of)", "negative for", "free of", "clear of", "neither", "nor",
    "resolved", "resolution of", "removal of", "remov(?:ed|ing)",
)  # fmt: skip
_DENIED_AFTER = any_of(
    r"(?:is|are|was|were) (?:absent|not (?:seen|present|identified|visuali[sz]ed|noted|evident|appreciated))",
    r"(?:has|have) (?:\w+ )?(?:been removed|resolved|cleared)",
    r"no longer",
)
_DOUBTED_BEFORE = any_of(
    "may", "might", "could", "possibl[ey]", "probabl[ey]", "likely", "suspect\\w*", "suspicious", "question\\w*",
    "concern\\w*", "suggest\\w*", "versus", "vs", "evaluat\\w*", "assess\\w*", "rule out", "exclud\\w*", "equivocal",
    "borderline", "potential\\w*", "if", "unlikely", "history of",
)  # fmt: skip
_DOUBTED_AFTER = any_of(
    r"(?:is|are|remains?) (?:possible|probable|likely|suspected|questionable|questioned|not excluded|unlikely)",
    r"(?:can ?not|could not|not) be (?:\w+ )?(?:excluded|ruled out|assessed)",
    "versus", "vs",
)  # fmt: skip
# "No large effusion" leaves room for a small one, "no rib fracture" for another bone's.
_QUALIFIED = any_of(
    "large", "larger", "sizable", "sizeable", "significant", "substantial", "gross", "overt", "frank", "definite",
    "additional", "other", "further", "new", "acute", "residual", "recurrent", "tension", "increas\\w*", "worsening",
    "loculated", "lobar", "displaced", "massive", "confluent", "suspicious", "ribs?", "clavic\\w*", "vertebral",
    "compression", "calcified", "hilar", "mediastinal", "apical", "basal", "upper", "lower", "middle", "enlarging",
)  # fmt: skip
_NOT_WHOLLY = any_of("otherwise", "except\\w*", "aside", "apart", "other than", "but", "elsewhere")
_SIDE = any_of("right", "left", "bilateral(?:ly)?", "both", "bibasilar", "bibasal", "biapical")


def read_sentence(sentence: str) -> Iterator[Mention]:
    for paraphrase in PARAPHRASES:
        is_excepted = paraphrase.presence is Presence.ABSENT and _NOT_WHOLLY.search(sentence)
        if paraphrase.words.search(sentence) and not is_excepted:
            for finding in paraphrase.findings:
                yield Mention(finding, paraphrase.presence, Laterality.UNSAID)
    cuts = [0, *(match.start() for match in _CLAUSE_END.finditer(sentence)), len(sentence)]
    for start, end in pairwise(cuts):
        yield from _read_clause(sentence[start:end])


def _read_clause(clause: str) -> Iterator[Mention]:
    places = sorted(
        (_Place(finding, *match.span()) for finding in FINDINGS for match in finding.words.finditer(clause)),
        key=lambda place: place.start,
    )
    begin = 0  # of the words that are about the next finding
    for place, following in zip(places, [*(each.start for each in places[1:]), len(clause)], strict=False):
        presence = _presence(clause[: place.start], clause[place.end : following])
        before, after = _SIDE.findall(clause[begin : place.start]), [*_SIDE.finditer(clause, place.end, following)]
        if presence is Presence.ABSENT:  # "no left pneumothorax or effusion": the side is that of the list
            before = _SIDE.findall(clause[: place.start])
        begin = place.end if before or not after else after[-1].end()
        if presence:
            sides = before or [match.group() for match in after]
            yield Mention(place.finding, presence, _laterality(sides) if place.finding.is_paired else Laterality.UNSAID)


def _presence(before: str, after: str) -> Presence | None:
    """None where a denial is of a part only: that says nothing of the rest.

    before: the clause up to the finding. after: from there to the next one.
    """
    denying = _NO_DENIAL.sub("", before)
    if _DOUBTED_BEFORE.search(before) or _DOUBTED_AFTER.search(after):
        return Presence.UNDETERMINED
    if not _DENIED_BEFORE.search(denying) and not _DENIED_AFTER.search(after):
        return Presence.PRESENT
    return None if _QUALIFIED.search(before) else Presence.ABSENT


def _laterality(words: Sequence[str]) -> Laterality:
    sides = {word.lower() for word in words}
    if not sides:
        return Laterality.UNSAID
    return Laterality(sides.pop()) if sides in ({"right"}, {"left"}) else Laterality.BILATERAL
