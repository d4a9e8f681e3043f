"""A draft that says of one finding, on one side, both that it is there and that it is not.

A small set of rules, on the side of silence: what is doubtful ("may represent"), qualified ("no large effusion") or
of another side is no contradiction.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product

from dicom_node.flags import Span
from dicom_node.sentences import find_sentences


@dataclass(frozen=True)
class Contradiction:
    """Two places of one text that cannot both be true."""

    sentence: str
    spans: tuple[Span, Span]


class _Side(Enum):
    RIGHT = "right"
    LEFT = "left"
    BOTH = "bilateral"
    UNSAID = ""


class _Claim(Enum):
    PRESENT = auto()
    ABSENT = auto()
    NEITHER = auto()


@dataclass(frozen=True)
class _Mention:
    finding: str
    claim: _Claim
    side: _Side
    span: Span


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


_FINDINGS = {
    "pneumothorax": _any(r"\b(?:hydro)?pneumothora(?:x|ces)\b"),
    "pleural effusion": _any(r"(?<!pericardial )(?<!joint )\beffusions?\b"),
    "consolidation": _any(r"\bconsolidations?\b"),
    "edema": _any(r"(?<!tissue )(?<!subcutaneous )\bo?edema\b"),
    "atelectasis": _any(r"\batelecta(?:sis|ses)\b"),
    "fracture": _any(r"\bfractures?\b"),
    "cardiomegaly": _any(r"\bcardiomegaly\b"),
    "nodule": _any(r"\bnodules?\b"),
}
# Sentences that claim a finding without its name: finding, claim, words.
_HEART = r"(?:heart(?: size)?|cardiac silhouette(?: size)?|cardiac size)"
_DEGREE = r"(?:mildly |moderately |severely |markedly |slightly |grossly |massively )?"
_PARAPHRASES = (
    (
        "cardiomegaly",
        _Claim.ABSENT,
        _any(
            rf"\b{_HEART} (?:is|appears|are) (?:(?:of|within) )?(?:the )?normal\b",
            rf"\bnormal {_HEART}\b",
            rf"\b{_HEART} is not enlarged\b",
        ),
    ),
    (
        "cardiomegaly",
        _Claim.PRESENT,
        _any(rf"\b{_HEART} (?:is|appears) {_DEGREE}enlarged\b", rf"(?<!no )\b{_DEGREE}enlarged {_HEART}\b"),
    ),
)
_CLEAR_LUNGS = _any(r"\b(?:(right|left) lung is|lungs are)(?: well[ -]\w+ and| completely| entirely)? clear\b(?! of\b)")
_NOT_WHOLLY = _any(r"\b(?:otherwise|except\w*|aside|apart|other than|but|elsewhere|remain\w*|exception)\b")
# Radiologists call lungs with a little atelectasis or an old nodule clear.
_LUNG_FINDINGS = ("consolidation", "edema")

# Where what was said before no longer reaches.
_CLAUSE_END = _any(
    r";|:|\bbut\b|\bhowever\b|\bal?though\b|\bthough\b|\bexcept\b|\bother than\b|\baside from\b|\bapart from\b"
    r"|\bwith(?:out)?\b|\bwhile\b|\bwhereas\b|\b(?:and|,)\s*there (?:is|are)\b"
    r"|(?:,|\band\b)\s*(?:a |an )?(?=(?:small|tiny|trace|mild|moderate|severe|minimal|left|right|bilateral)\b)"
)
_ABSENT_BEFORE = _any(r"\b(?:no|without|absen(?:t|ce of)|negative for|free of|neither|nor|resolved|resolution of)\b")
_ABSENT_AFTER = _any(
    r"\b(?:is|are|was|were)\s+absent\b"
    r"|\b(?:(?:is|are|was|were)\s+)?not\s+(?:seen|present|identified|visuali[sz]ed|noted|evident|appreciated)\b"
    r"|\b(?:has|have)\s+(?:\w+ly\s+)?(?:resolved|cleared)\b|\bno longer\b"
)
_PRESENT_AFTER = _any(
    r"\b(?:is|are|was|were)\s+(?:\w+\s+)?(?:present|seen|noted|visuali[sz]ed|identified|demonstrated)\b"
)
_DOUBT = _any(
    r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|suspect\w*|suspicious|question\w*|concern\w*|suggest\w*"
    r"|versus|vs|evaluat\w*|assess\w*|rule out|excluded?|difficult|cannot|can not|borderline|potential\w*|if|history"
    r"|equivocal|unlikely)\b",
    # of another image: "not seen on the lateral view"
    r"\bnot\s+(?:seen|present|identified|visuali[sz]ed|noted|evident|appreciated)\s+(?:previously|before"
    r"|(?:on|in)\s+(?:(?:the|a|any)\s+)?(?:prior|previous|earlier|last|old|lateral|frontal|ct|comparison))\b",
)
# "No large effusion" leaves room for a small one, "no other fracture" for the first.
_QUALIFIED = _any(
    r"\b(?:large|larger|sizable|sizeable|significant|substantial|gross|overt|frank|additional|other|further|new|acute"
    r"|residual|recurrent|tension|increas\w*|worsening|loculated|lobar|displaced|massive|confluent|change|suspicious"
    r"|rib|ribs|clavic\w*|vertebral|compression|old|healed|healing|chronic|prior"
    r"|stable|unchanged|persist\w*|decreas\w*|improv\w*"
    r"|rounded|calcified|mediastinal|hilar|apical|basal|upper|lower|middle|enlarging)\b"
)
_SIDE_WORD = _any(r"\b(right|left|bilateral(?:ly)?|both|bibasilar|bibasal|biapical)\b")


def find_contradictions(text: str) -> list[Contradiction]:
    """At most one for each finding, in the order of the text."""
    mentions = list(_mentions(text))
    found = (_contradiction(finding, mentions) for finding in _FINDINGS)
    return sorted((each for pair in found for each in pair), key=lambda each: min(each.spans))


def _contradiction(finding: str, mentions: Sequence[_Mention]) -> list[Contradiction]:
    own = [mention for mention in mentions if mention.finding == finding]
    present = [mention for mention in own if mention.claim is _Claim.PRESENT]
    absent = [mention for mention in own if mention.claim is _Claim.ABSENT]
    for yes, no in product(present, absent):
        if _excludes(no.side, yes.side):
            first, second = sorted((yes.span, no.span))
            where = f"{yes.side.value} {finding}".strip()
            return [Contradiction(f"Says both that there is {where} and that there is none.", (first, second))]
    return []


def _excludes(absent: _Side, present: _Side) -> bool:
    """Nothing on either side excludes all; nothing on one side excludes that side only."""
    if absent in (_Side.UNSAID, _Side.BOTH):
        return True
    return present in (absent, _Side.BOTH)


def _mentions(text: str) -> Iterator[_Mention]:
    for sentence in find_sentences(text):
        yield from _clear_lungs(text, sentence)
        for finding, claim, words in _PARAPHRASES:
            for match in words.finditer(text, *sentence):
                yield _Mention(finding, claim, _Side.UNSAID, match.span())
        for start, end in _clauses(text, sentence):
            yield from _clause_mentions(text, start, end)


def _clear_lungs(text: str, sentence: Span) -> Iterable[_Mention]:
    """Clear lungs exclude what fills a lung, unless the sentence names an exception."""
    match = _CLEAR_LUNGS.search(text, *sentence)
    if match and not _NOT_WHOLLY.search(text, *sentence):
        side = _Side((match.group(1) or "").lower())
        return [_Mention(finding, _Claim.ABSENT, side, match.span()) for finding in _LUNG_FINDINGS]
    return []


def _clauses(text: str, sentence: Span) -> list[Span]:
    cuts = [match.start() for match in _CLAUSE_END.finditer(text, *sentence)]
    return list(zip([sentence[0], *cuts], [*cuts, sentence[1]], strict=True))


def _clause_mentions(text: str, start: int, end: int) -> Iterator[_Mention]:
    places = sorted(
        (*match.span(), finding) for finding, words in _FINDINGS.items() for match in words.finditer(text, start, end)
    )
    stops = [start, *(place[1] for place in places)]
    begins = [*(place[0] for place in places), end]
    for index, (begin, stop, finding) in enumerate(places):
        claim = _claim(text[start:begin], text[stop:end], text[start:end], is_heading=text[stop : stop + 1] == ":")
        if claim is _Claim.ABSENT:  # "no left pneumothorax or effusion": the side is that of the list
            side = _side(text[start:begin], text[stop:end])
        else:
            side = _side(text[stops[index] : begin], text[stop : begins[index + 1]])
        yield _Mention(finding, claim, side, (begin, stop))


def _claim(before: str, after: str, clause: str, *, is_heading: bool) -> _Claim:
    if is_heading or _DOUBT.search(clause):  # "pleural effusion: none"
        return _Claim.NEITHER
    if not _ABSENT_BEFORE.search(before) and not _is_denied(after):
        return _Claim.PRESENT
    return _Claim.NEITHER if _QUALIFIED.search(clause) else _Claim.ABSENT


def _is_denied(after: str) -> bool:
    """The next verb after the finding says that it is not there."""
    denied, seen = _ABSENT_AFTER.search(after), _PRESENT_AFTER.search(after)
    return denied is not None and (seen is None or denied.start() <= seen.start())


def _side(before: str, after: str) -> _Side:
    """The nearest word of a side before the finding, else after it."""
    words = _SIDE_WORD.findall(before)[-1:] or _SIDE_WORD.findall(after)[:1]
    for word in words:
        return _Side(word.lower()) if word.lower() in ("right", "left") else _Side.BOTH
    return _Side.UNSAID
