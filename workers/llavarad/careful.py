"""What a reader should be warned of in a draft. The text itself is never changed.

A flag means "this cannot be known from one image, or looks like a fault of the model", not "this is wrong". Rules are
made for MIMIC-style findings; each names in a comment which harmless wording it lets pass.
"""

import re
from collections.abc import Iterable, Sequence

from dicom_node.flags import Flag, FlagKind, Span
from dicom_node.sentences import find_sentences
from workers.llavarad.contradiction import find_contradictions

# Of the area. A 35 × 43 cm film loses more (19 %), from its ends: an apex or an angle may lie there.
CROPPED_LIMIT = 0.10
_MAX_QUOTES = 3


def flag_findings(text: str, *, token_count: int, max_new_tokens: int, cropped_fraction: float) -> tuple[Flag, ...]:
    """At most one flag of each kind, but one for every contradiction.

    token_count: without the end mark, so that `max_new_tokens` means the draft was cut short.
    cropped_fraction: share of the image's area, 0 to 1, that the model did not see.
    """
    if not re.search(r"[^\W\d_]", text):
        empty = Flag(FlagKind.EMPTY, "The model wrote no words.")
        return (empty, *_truncated(text, token_count, max_new_tokens), *_cropped(cropped_fraction))
    return (
        *_truncated(text, token_count, max_new_tokens),
        *_flag(FlagKind.REPETITION, "Repeats itself", text, _repetitions(text)),
        *(Flag(FlagKind.CONTRADICTION, each.sentence, each.spans) for each in find_contradictions(text)),
        *_wording(text),
        *_cropped(cropped_fraction),
    )


def _rule(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


_EXAM = (
    r"(?:exam\w*|stud(?:y|ies)|(?:radio)?graphs?|films?|x-?rays?|images?|imaging|cts?|mri|scans?|reports?|comparisons?)"
)
# With these, "increased" and "decreased" compare with normal, not with before: "increased interstitial markings".
_AS_NORMAL = (
    r"(?:marking|opaci|densit|attenuat|lucen|translucen|radioluc|diameter|vascular|volume|kypho|minerali|reticul"
    r"|conspicu|trabecul|prominence|thickening|haz|inspirat|space|distance|size of the heart)\w*"
)
_COMPARISON = _rule(
    # "No new consolidation" is flagged too: it says that the others are old, and comforts without grounds.
    r"\bnew(?:ly)?\b",
    r"\bunchanged\b",
    r"\b(?:no|without|any|little|minimal)\s+(?:(?:significant|substantial|appreciable|relevant|major|marked|definite"
    r"|great|interval)\s+)?change\b",  # "degenerative changes" pass
    r"\b(?:has|have)\s+(?:not\s+)?(?:\w+ly\s+)?(?:changed|cleared|resolved|progressed|enlarged|grown|developed"
    r"|appeared|disappeared|been\s+(?:removed|withdrawn|advanced|repositioned|exchanged|retracted|extubated))\b",
    r"(?<!short[ -])\binterval\b(?!\s+follow)",  # "short interval follow-up" passes
    # "elevated compared to the left" compares two sides of one image.
    r"\bcompar(?:ed|ison|able|ing)\b(?!\s+(?:to|with)\s+(?:the\s+)?(?:left|right|contralateral|opposite|other)\b)",
    r"\bagain\b",
    r"\b(?:re-?demonstrat|re-?identif)\w+",
    r"(?<!hemodynamically )(?<!clinically )\bstab(?:le|ility)\b",
    rf"\b(?:prior|previous|earlier|last|preceding|recent)\s+(?:\w+\s+){{0,2}}?{_EXAM}\b",  # "prior sternotomy"
    r"\b(?:than|from|since|as|to|with|on)\s+(?:the\s+|his\s+|her\s+)?(?:most\s+recent\s+)?(?:prior|previous|before)"
    r"(?=\s*[.,;)]|\s*$)",
    r"\bpreviously\s+(?:seen|noted|described|identified|demonstrated|visuali[sz]ed|reported|present|mentioned)\b",
    r"\bsince\s+(?:the\s+)?(?:\d|_|yesterday|prior|previous|last|earlier)",
    r"\bin the (?:interim|meantime)\b",
    r"\bno longer\b",
    r"\b(?:is|are|there is|there are)\s+now\b|\bnow\s+(?:seen|present|noted|visible|more|less)\b",
    r"\b(?:has|have)\s+(?:\w+ly\s+)?(?:in|de)creased\b",
    r"(?:in|de)creas(?:ed|ing)\s+in\s+(?:size|extent|severity|amount|number|conspicuity)\b",
    rf"(?<!markings are )(?<!density is )(?<!diameter is )(?<!volumes are )\b(?:in|de)creas(?:ed|ing)\b"
    rf"(?!\s+in\b)(?!\s+(?:[\w-]+\s+){{0,3}}?{_AS_NORMAL})",
    r"\b(?:improv|worsen)(?:ed|ing|ement|s)?\b",
    r"\bworse\b(?!\s+(?:on|at|in)\b)",  # "worse on the right" passes
    r"\bresol(?:ved|ving|ution of)\b",  # "high resolution" passes
    r"\bpersist(?:s|ent|ently|ing|ence)?\b",
    r"\bremains?\b",  # "the remaining lungs" passes
    r"\bprogress(?:ed|ion|ing)\b",  # "progressive massive fibrosis" passes
)
_NUMBER = r"(?:\d+(?:[.,]\d+)?|_{2,})"
_MEASUREMENT = _rule(
    rf"(?:{_NUMBER}(?:\s*(?:x|×|by|-|–|to)\s*{_NUMBER}){{0,3}}[\s-]*)?"
    r"(?<![a-z])(?:[cm]m|(?:centi|milli)met(?:er|re)s?)\b(?!\s*Hg\b)",
    r"\bsub-?centimet(?:er|re|ric)\b",
)
_UNSEEN_VIEW = _rule(
    r"\blateral\s+(?:\w+\s+)?(?:view|projection|radiograph|film|image)s?\b",
    r"\band\s+lateral\b(?=\s*[.,;]|\s+chest)",
    r"\b(?:two|2|both|multiple|three|3)\s+(?:\w+\s+)?views?\b",
)
_DATE = _rule(
    r"\b\d{1,2}/\d{1,2}/\d{2,4}\b|\b(?:19|20)\d{2}(?:-\d\d-\d\d)?\b",
    r"\b(?:january|february|march|april|june|july|august|september|october|november|december)\b|\bmay\s+\d",
    r"\b\d{1,2}:\d{2}\s*(?:[ap]\.?m\b\.?)?|\b(?:yesterday|today)\b",
)
_COMMUNICATION = _rule(
    r"\bdiscussed\s+(?:with|by|via|over|in person)\b",  # "as discussed above" passes
    r"\bcommunicated\b",  # "communicating" passes
    r"\b(?:was|were|been|is|are)\s+(?:\w+ly\s+)?(?:notified|informed|paged|conveyed|relayed|telephoned|emailed"
    r"|e-mailed|alerted)\b",
    r"\bnotified\s+(?:by|of|via)\b",
    r"\b(?:by|via|over the)\s+(?:tele)?phone\b",
    r"\bdr\b|\bphysician\b|\bnurse\b",
    r"\bwet read\b|\btime of (?:discovery|observation|review|dictation|interpretation)\b",
)
_MASK = re.compile(r"_{2,}|\[\*\*.*?\*\*\]|\bX{3,}\b|\[redacted\]|<unk>")  # MIMIC-CXR, MIMIC-III, Open-I
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Words in a row that are written again at once: how often is too often. "very, very" and list-like phrases pass.
_LOOPS = tuple((length, 3 if length < 4 else 2) for length in range(1, 21))
_MIN_REPEATED_WORDS = 4
_CHARACTER_LOOP = re.compile(r"([^\s_])\1{7,}")


def _wording(text: str) -> Iterable[Flag]:
    communications = [span for span in find_sentences(text) if _COMMUNICATION.search(text, *span)]
    for kind, begin, spans in (
        (FlagKind.COMPARISON, "Compares with earlier images, which the model has not seen", _spans(_COMPARISON, text)),
        (FlagKind.MEASUREMENT, "States a size, which the model cannot know", _spans(_MEASUREMENT, text)),
        (FlagKind.UNSEEN_VIEW, "Speaks of a view that the model has not seen", _spans(_UNSEEN_VIEW, text)),
        (FlagKind.DATE, "Names a date or time, which the model cannot know", _spans(_DATE, text)),
        (FlagKind.COMMUNICATION, "Tells of a conversation that did not take place", communications),
        (FlagKind.MASK, "Holds a blank from the training data where a fact stood", _spans(_MASK, text)),
    ):
        yield from _flag(kind, begin, text, spans)


def _truncated(text: str, token_count: int, max_new_tokens: int) -> Iterable[Flag]:
    if token_count >= max_new_tokens:
        start = max(text.rfind(mark) for mark in ".!?\n") + 1
        span = (start + len(text[start:]) - len(text[start:].lstrip()), len(text))
        sentence = f"Cut short at the limit of {max_new_tokens} tokens: the end is missing."
        yield Flag(FlagKind.TRUNCATED, sentence, (span,) if span[0] < span[1] else ())


def _cropped(fraction: float) -> Iterable[Flag]:
    if fraction > CROPPED_LIMIT:
        yield Flag(FlagKind.CROPPED, f"{100 * fraction:.0f} % of the image was outside of what the model reads.")


def _flag(kind: FlagKind, begin: str, text: str, spans: Sequence[Span]) -> Iterable[Flag]:
    """One flag that quotes the first few places, or none. Its own words are ASCII, which every character set holds."""
    if not spans:
        return
    quotes = list(dict.fromkeys(f'"{_shorten(text[start:end])}"' for start, end in spans))
    more = f" and {len(quotes) - _MAX_QUOTES} more" if len(quotes) > _MAX_QUOTES else ""
    yield Flag(kind, f"{begin}: {', '.join(quotes[:_MAX_QUOTES])}{more}.", tuple(spans))


def _shorten(quote: str) -> str:
    words = " ".join(quote.split()).rstrip(".")
    return words if len(words) <= 60 else f"{words[:57].rstrip()}..."


def _spans(rule: re.Pattern[str], text: str) -> list[Span]:
    return [match.span() for match in rule.finditer(text)]


def _repetitions(text: str) -> list[Span]:
    """Loops, then sentences that were written before."""
    loops = [*_spans(_CHARACTER_LOOP, text), *_word_loops(text)]
    return sorted(loops) or _repeated_sentences(text)


def _word_loops(text: str) -> list[Span]:
    """Where the same words follow each other at once, too often; the shortest words that loop."""
    found = list(_WORD.finditer(text))
    words = [match.group().lower() for match in found]
    for length, times in _LOOPS:
        for start in range(len(words) - length * times + 1):
            repeats = _repeats(words, start, length)
            if repeats >= times:
                return [(found[start].start(), found[start + length * repeats - 1].end())]
    return []


def _repeats(words: Sequence[str], start: int, length: int) -> int:
    """How often the words at `start` stand there in a row; at least once."""
    first, repeats = words[start : start + length], 1
    while words[start + repeats * length : start + (repeats + 1) * length] == first:
        repeats += 1
    return repeats


def _repeated_sentences(text: str) -> list[Span]:
    seen: set[tuple[str, ...]] = set()
    repeated = []
    for start, end in find_sentences(text):
        words = tuple(_WORD.findall(text[start:end].lower()))
        if words in seen and len(words) >= _MIN_REPEATED_WORDS:
            repeated.append((start, end))
        seen.add(words)
    return repeated
