"""The parts of a signed report, by the headings that radiologists write."""

import re
from collections.abc import Iterable

_FINDINGS = ("findings", "finding", "observations", "findings and impression", "findings/impression")
_CONCLUDING = ("impression", "impressions", "conclusion", "conclusions", "opinion", "summary")
# Not about what the film shows: words there would be taken for findings. A blank line ends it.
_BEFORE_THE_FILM = (
    "indication", "indications", "clinical indication", "history", "clinical history", "clinical information",
    "clinical data", "clinical statement", "reason for exam", "reason for examination", "reason for study",
    "reason for the exam", "reason for the examination", "reason", "comparison", "comparisons", "comparison studies",
    "prior studies", "technique", "procedure", "exam", "examination", "study",
)  # fmt: skip
# Nothing that follows is about it.
_AFTER_THE_FILM = (
    "recommendation", "recommendations", "communication", "notification", "attestation", "signed",
    "electronically signed by", "dictated by", "signed by",
)  # fmt: skip
_ASIDE = (*_BEFORE_THE_FILM, *_AFTER_THE_FILM)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_NAMES = "|".join(sorted((*_FINDINGS, *_CONCLUDING, *_ASIDE), key=len, reverse=True))
# With a colon where a line or sentence begins, or in capitals; or a line of its own.
_HEADING = re.compile(
    rf"(?:^[ \t]*|[.?!]\s+)(?P<begins>{_NAMES})[ \t]*:"
    rf"|\b(?P<capitals>(?-i:{_NAMES.upper()}))[ \t]*:"
    rf"|^[ \t]*(?P<line>{_NAMES})[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_ADDENDUM = re.compile(r"\W*addendum\b", re.IGNORECASE)
_NO_HEADING = ""


def findings_of(report: str) -> str:
    """The findings section; of a report that has none, what it says of the film. May be empty.

    Empty for an addendum that comes alone: it is not the report, which stands as it was.
    """
    parts = _parts(report)
    if _ADDENDUM.match(report) and not any(name in (*_FINDINGS, *_CONCLUDING) for name, _ in parts):
        return ""
    findings = _join(text for name, text in parts if name in _FINDINGS)
    return findings or _join(text for name, text in parts if name not in _ASIDE)


def _parts(report: str) -> list[tuple[str, str]]:
    """Each heading in lower case and the text below it, in their order; what belongs to none has an empty one."""
    headings = [(found, str(found.lastgroup)) for found in _HEADING.finditer(report)]
    starts = [0, *(found.end() for found, _ in headings)]
    ends = [*(found.start(group) for found, group in headings), len(report)]
    names = [_NO_HEADING, *(found[group].lower() for found, group in headings)]
    parts = [(name, report[start:end].strip()) for name, start, end in zip(names, starts, ends, strict=True)]
    return [own for part in parts for own in _end_at_a_blank_line(*part)]


def _end_at_a_blank_line(name: str, text: str) -> list[tuple[str, str]]:
    if name not in _BEFORE_THE_FILM:
        return [(name, text)]
    about, *rest = _BLANK_LINE.split(text, maxsplit=1)
    return [(name, about), *((_NO_HEADING, each.strip()) for each in rest)]


def _join(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)
