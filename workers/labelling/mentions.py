"""What one sentence says of the findings that it names: there, not there, or left open, and on which side."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dicom_node.labels import Laterality, Presence
from workers.labelling.findings import DEVICES, FINDINGS, PARAPHRASES, Finding, any_of


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


# "Do not think there is", "whether there is": what was said before still reaches.
_GOES_ON = "".join(
    rf"(?<!\b{word} )"
    for word in (
        "that", "whether", "if", "believe", "think", "feel", "suspect", "doubt", "likely", "unlikely", "possible",
        "possibly", "perhaps", "say", "evidence", "sign", "sure", "certain", "clear",
    )
)  # fmt: skip
_WITH = r"(?<!consistent )(?<!compatible )(?<!associated )(?<!keeping )\bwith"
# Where what was said before no longer reaches: the next clause begins here.
_CLAUSE_END = re.compile(
    r";|:(?!\s*(?:(?:none|nil|nothing|absent|negative|no|not|without|there (?:is|are) no(?:ne)?|possibl[ey]|probabl[ey]"
    r"|(?:un)?likely|less likely|suspected|questionable|equivocal|unclear|uncertain|excluded|ruled? out|may|might|could"
    r"|can ?not|(?:now )?(?:resolved|removed|cleared)|is|are|was|were|has|have)\b|\?))"
    rf"|{_GOES_ON}(?<!: )\bthere(?= (?:is|are)\b)"
    rf"|{_WITH}(?= (?:very |mildly |slightly )?(?:small|tiny|trace|mild|moderate|severe|minimal|slight|subtle|large"
    r"|left|right|bilateral|bibasilar|basilar|new|persist\w+|residual|stable|unchanged|adjacent|layering|loculated|patchy"
    r"|increas\w+|decreas\w+|improv\w+|worsen\w+)\b)"
    r"|\b(?:but|however|al?though|though|while|whereas|except|other than|aside from|apart from|without)\b"
    r"|,? (?:with|and)(?= (?:there|an?|the|no|(?:\w+ )?(?:placement|insertion) of)\b)"
    r"|,(?= (?:there|an?|no)\b)"
    r"|(?:,|(?<!\bright )(?<!\bleft )\band\b)"
    r"\s*(?=(?:small|tiny|trace|mild|moderate|severe|minimal|left|right|bilateral)\b)",
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
_WHOLLY_GONE = (
    r"(?:has|have|is|are|was|were) (?:(?:now|since|completely|fully|entirely|been) ){0,3}(?:removed|resolved|cleared)"
)
_BEFORE_NOW = r"(?! (?:previously|before|(?:on|in) (?:(?:the|a|any) )?(?:prior|previous|earlier|last|old)))"
_NOT_SEEN = (
    r"not (?:seen|present|identified|visuali[sz]ed|noted|evident|appreciated|detected|demonstrated|apparent|visible)\b"
    rf"{_BEFORE_NOW}"
)
# "Not seen on the lateral view", "not present in 2019": that says nothing of the film, or not of all of it.
_ON_ANOTHER = (
    r" (?:yesterday|(?:on|in) (?!(?:(?:the|this|these|either|both|current|present|today['’]s|chest) )*"
    r"(?:right|left|sides?|lungs?|chest|thorax|today|(?:exam\w*|study|radiographs?|films?|images?|views?|x-?rays?)"
    r"(?! (?:of|from|dated)\b))\b))"
)
_DENIED_AFTER = any_of(
    r"(?:is|are|was|were) absent",
    rf"{_NOT_SEEN}(?!{_ON_ANOTHER})",
    rf"{_WHOLLY_GONE}\b(?! (?:only |but )?(?:partial|incomplet|in part|mostly|nearly|almost))",
    r"no longer",
)
_DENIED_ON_ANOTHER = re.compile(rf"\b{_NOT_SEEN}{_ON_ANOTHER}", re.IGNORECASE)
# "Pneumothorax: none.", and other answers to a heading that deny something.
_IS_NONE = re.compile(
    r"\s*(?:[:,–-]+\s*)?(?:none|nil|no|absent|negative)(?: (?:seen|present|identified|visuali[sz]ed|noted|evident))?"
    r"[^\w\s]*$",
    re.IGNORECASE,
)
_ANSWERS_NO = any_of("none", "nil", "nothing", "absent", "negative", "no", "not", "without")
# "Has not resolved", "partial resolution": nothing is said to be gone, nor to be there.
_PARTLY_GONE = any_of(
    r"(?:no|not|never|without|some|partial(?:ly)?|incomplete(?:ly)?|near(?:ly)?|almost|mostly|largely)(?:[ -]\w+){0,2}"
    r"[ -](?:removed|resolved|cleared|resolution|removal|clear(?:ing|ance))"
)
_SOMEHOW_GONE = any_of("removed", "resolved", "cleared")
_ANOTHER_IS_GONE = any_of(_WHOLLY_GONE)  # where it stands before the finding
# "No pneumothorax, effusion stable": what goes on is there.
_GOES_ON_THERE = re.compile(
    r"\s*(?:(?:is|are|has|have|remains?|appears?) )?(?:\w+ly )?"
    r"(?:stable|unchanged|persist\w*|increas\w+|decreas\w+|improv\w+|worsen\w*|larger|smaller)\b",
    re.IGNORECASE,
)
_ITS_REMOVAL = re.compile(r"\s*(?:removal|withdrawal|resolution|clearance)\b", re.IGNORECASE)
_TAKEN_OUT = any_of("removal of", "remov(?:ed|ing)")  # which is said of devices alone
_DOUBTED_BEFORE = any_of(
    "may", "might", "could", "possibl[ey]", "probabl[ey]", "likely", "suspect\\w*", "suspicious", "question\\w*",
    "concern\\w*", "suggest\\w*", "versus", "vs", "evaluat\\w*", "assess\\w*", "rule out", "exclud\\w*", "equivocal",
    "borderline", "potential\\w*", "if", "unlikely", "history of", "whether", "unclear", "uncertain",
    "possibility", "perhaps", "worrisome", "differential", "consider(?:ed|ation)?", "presum\\w*", "favou?r\\w*",
    "rather than", "instead of", "as opposed to", "simulat\\w*", "mimic\\w*", "r/o",
)  # fmt: skip
# "No suspicious nodule", "no opacity to suggest pneumonia": words of doubt that leave nothing open.
_NO_DOUBT = any_of(
    r"(?:no|without)(?: (?!and\b|with\b|chang|improv|decreas|increas|worsen|differen)[\w-]+){0,4}?"
    r" (?:(?:suspicious|concerning)(?! for)|(?:suspicious|concerning|worrisome) for"
    r"|to suggest|suggest(?:ing|ive of))"
)
_DOUBTED_AFTER = any_of(
    r"(?:is|are|remains?|thought|felt) (?:\w+ )?(?:possible|probable|(?:un)?likely|suspected|questionable|questioned)",
    r"(?:can ?not|can['’]t|could not|not) be (?:\w+ )?(?:excluded|ruled out|assessed)",
    r"not (?:well|\w+ly) (?:seen|identified|visuali[sz]ed|appreciated|evaluated|assessed|excluded)",
    r"not (?:been )?excluded", r"(?:difficult|hard) to (?:exclude|rule out|assess)",
    r"(?:may|might|could|should|would) (?:also )?be (?:present|considered|suspected|possible)",
    r"(?:is|are) (?:an? (?:\w+ )?(?:consideration|possibility)|in the differential)",
    r"(?:probably|likely|possibly) present", "less likely", "if (?:any|present)", "versus", "vs",
)  # fmt: skip
_ASKED = re.compile(r"[^\w]*\?")
# "No large effusion" leaves room for a small one, "no rib fracture" for another bone's.
_QUALIFIED = any_of(
    "large", "larger", "sizable", "sizeable", "significant", "substantial", "gross", "overt", "frank", "definite",
    "additional", "other", "further", "new", "acute", "residual", "recurrent", "tension", "increas\\w*", "worsening",
    "loculated", "lobar", "displaced", "massive", "confluent", "suspicious", "ribs?", "clavic\\w*", "vertebral",
    "compression", "calcified", "hilar", "mediastinal", "apical", "basal", "upper", "lower", "middle", "enlarging",
    "concerning", "stable", "unchanged", "persist\\w*", "decreas\\w*", "improv\\w*",
    rf"{_WITH}(?! (?:there|an?|the|no|neither)\b)",
)  # fmt: skip
_LISTS = re.compile(r",?\s*(?:(?:and|or|and/or)\s+)?(?:an?\s+|the\s+)?", re.IGNORECASE)
_JOINT = re.compile(r",|\b(?:and|or|with|versus|vs)\b", re.IGNORECASE)
_NOT_WHOLLY = any_of("otherwise", "except\\w*", "aside", "apart", "other than", "but", "elsewhere")
# The right atrium and the right main bronchus tell no side of what ends there, "the right setting" none at all.
_NO_SIDE = (
    r"(?!(?: (?:and|or) (?:right|left))? (?:atri\w+|ventric\w+|heart failure|main(?:[ -]?stem)? (?:bronchus|intubation)"
    r"|(?:main )?pulmonary arter\w+|(?:clinical )?(?:setting|context)))"
)
_SIDE = any_of(
    rf"(?<!the )(?:right|left) (?:and|or) (?:right|left)\b{_NO_SIDE}",
    r"(?:right|left) (?:greater|more|larger|worse) than (?:on the )?(?:right|left)",
    rf"(?:right|left)\b{_NO_SIDE}", "bilateral(?:ly)?", "both", "bibasilar", "bibasal", "biapical",
)  # fmt: skip
# "Shifted to the right" is from, or to, what did it.
_SHIFTED = any_of(
    r"(?:shift|deviat|displac|push|pull|rotat|tilt)\w*(?: \w+){0,3}? (?:to|towards?) the (?:right|left)",
)


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
    for number, (place, following) in enumerate(
        zip(places, [*(each.start for each in places[1:]), len(clause)], strict=False)
    ):
        presence = _presence(place.finding, clause[: place.start], clause[place.end : following])
        if presence is Presence.PRESENT and _is_taken_back(clause, places[number:]):
            presence = None
        until = following if number == len(places) - 1 else _last_joint(clause, place.end, following)
        before, after = _SIDE.findall(clause[begin : place.start]), [*_SIDE.finditer(clause, place.end, until)]
        if presence is Presence.ABSENT:  # "no left pneumothorax or effusion": the side is that of the list
            before = _SIDE.findall(clause[: place.start])
        begin = place.end if before or not after else after[-1].end()
        words = (before or [match.group() for match in after]) if place.finding.is_paired else []
        side = None if words and _SHIFTED.search(clause) else _laterality(words, _SIDE.findall(clause))
        if presence and not (presence is Presence.ABSENT and side is None):  # without a side it would deny both
            yield Mention(place.finding, presence, side or Laterality.UNSAID)


def _last_joint(clause: str, start: int, end: int) -> int:
    """Where the words before the next finding begin to be about that: "effusions and bibasilar atelectasis"."""
    joints = [joint.start() for joint in _JOINT.finditer(clause, start, end)]
    return joints[-1] if joints else end


def _is_taken_back(clause: str, listed: Sequence[_Place]) -> bool:
    """Whether what follows the list that begins here denies or doubts its last: then it may be of all of it.

    "Pneumothorax and effusion are not seen", but also "a nodule and effusion is not seen".
    """
    for place, following in pairwise(listed):
        if not _LISTS.fullmatch(clause[place.end : following.start]):
            return False
        after = clause[following.end :]
        if any(gone.search(after) for gone in (_DENIED_AFTER, _DOUBTED_AFTER, _SOMEHOW_GONE)) or _IS_NONE.match(after):
            return True
    return False


def _presence(finding: Finding, before: str, after: str) -> Presence | None:
    """None where a denial is of a part only, or may be of something else: that says nothing of the finding.

    before: the clause up to the finding. after: from there to the next one.
    """
    if _PARTLY_GONE.search(before):
        return None
    is_heading = after.lstrip().startswith(":")
    doubting = _NO_DOUBT.sub("no", f"{before}{after}" if is_heading else before)
    if _DOUBTED_BEFORE.search(doubting) or _DOUBTED_AFTER.search(after) or _ASKED.match(after):
        return Presence.UNDETERMINED
    if is_heading and not _IS_NONE.match(after) and _ANSWERS_NO.search(_NO_DENIAL.sub("", after)):
        return None  # what follows says of what
    if _ITS_REMOVAL.match(after) or _DENIED_ON_ANOTHER.search(after):
        return None
    denying = _ANOTHER_IS_GONE.sub("", _NO_DENIAL.sub("", before))
    is_denied = _DENIED_BEFORE.search(denying) or _DENIED_AFTER.search(after) or _IS_NONE.match(after)
    if not is_denied:
        is_open = _SOMEHOW_GONE.search(after) or _ANOTHER_IS_GONE.search(before)
        return None if is_open else Presence.PRESENT
    if finding not in DEVICES and _TAKEN_OUT.search(before):
        return None
    return None if _QUALIFIED.search(before) or _GOES_ON_THERE.match(after) else Presence.ABSENT


def _laterality(words: Sequence[str], in_clause: Sequence[str]) -> Laterality | None:
    """None where the clause names several sides: the order of words does not tell which is this finding's."""
    sides, apart = {word.lower() for word in words}, {"right", "left", "both"}
    if not sides:
        return Laterality.UNSAID
    if sides - apart:
        return Laterality.BILATERAL
    if len(apart & {word.lower() for word in in_clause}) > 1:
        return None
    return Laterality.BILATERAL if sides == {"both"} else Laterality(sides.pop())
