"""Which findings a report affirms, with their sides: the inverse of words, for scoring drafts.

Reads sentence by sentence; what it does not know it passes over.
"""

import re
from collections.abc import Iterator

from dicom_node.sentences import find_sentences
from workers.phantom.case import SIDELESS, Kind, Side

Claim = tuple[Kind, Side | None]

_NAMES = {
    Kind.EFFUSION: r"effusions?",
    Kind.PNEUMOTHORAX: r"pneumothora(?:x|ces)",
    Kind.CONSOLIDATION: r"consolidations?",
    Kind.NODULE: r"nodules?|mass(?:es)?",
    Kind.CARDIOMEGALY: r"cardiomegaly|(?:heart|silhouette)(?: size)? (?:is|appears) (?:\w+ )?enlarged|enlarged heart",
    Kind.FRACTURE: r"fractures?",
    Kind.PACEMAKER: r"pacemakers?",
    Kind.TUBE: r"endotracheal tube",
    Kind.DEXTROCARDIA: r"dextrocardia",
}
_MENTION = re.compile(r"\b(?:" + "|".join(f"(?P<{kind.name}>{name})" for kind, name in _NAMES.items()) + r")\b")
_CLAUSE_END = re.compile(r"[;:]|,? (?:but|while|however|with|and)(?= (?:there|an?|the|no)\b)|,(?= (?:there|an?|no)\b)")
_DENIAL = re.compile(r"\b(?:no|not|without|never|absent|absence|excluded|resolved)\b")
_SIDE = re.compile(r"\b(right|left|bilateral|both)\b")


def read_findings(text: str) -> frozenset[Claim]:
    """The kinds a text affirms, each with its sides; a sided kind without a side has None. Any text is allowed."""
    said = " ".join(text.lower().split())
    clauses = [clause for start, end in find_sentences(said) for clause in _CLAUSE_END.split(said[start:end])]
    return frozenset(claim for clause in clauses for claim in _read_clause(clause))


def _read_clause(clause: str) -> Iterator[Claim]:
    """A side word belongs to the mention it precedes, else to the one it follows; a denial to all after it."""
    mentions = list(_MENTION.finditer(clause))
    bounds = [0, *(edge for mention in mentions for edge in mention.span()), len(clause)]
    for mention, start, end in zip(mentions, bounds[::2], bounds[3::2], strict=False):
        after = clause[mention.end() : end]
        if _DENIAL.search(clause[: mention.end()]) or re.match(r"[^,]*\b(?:not|absent|excluded|resolved)\b", after):
            continue
        kind = Kind[mention.lastgroup or ""]
        sides = _SIDE.findall(clause[start : mention.start()]) or _SIDE.findall(after)
        yield from ((kind, side) for side in _name_sides(kind, sides))


def _name_sides(kind: Kind, words: list[str]) -> list[Side | None]:
    if kind in SIDELESS or not words:
        return [None]
    if {"bilateral", "both"} & set(words):
        return list(Side)
    return [Side(word) for word in words]
