"""A rule-based labeller for free text: it reads findings from a draft's words and has never seen the image."""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from dicom_node.labels import Label, Labeller, Labels, Laterality, Presence
from dicom_node.sentences import find_sentences
from workers.labelling.findings import FINDINGS, Finding
from workers.labelling.mentions import Mention, read_sentence

NAME = "cxrnode text labeller (rule-based, for free text)"
VERSION = "1"
_RULES = ("findings.py", "mentions.py", "labeller.py", "sections.py")
# What counts where sentences differ, as CheXpert has it: "there is" before "there may be" before "there is none".
_STRONGEST_FIRST = (Presence.PRESENT, Presence.UNDETERMINED, Presence.ABSENT)

_LONGEST = 1_000  # characters of a sentence that is read: time grows with the square

_VERSUS = re.compile(r"(?<=\bvs)\.", re.IGNORECASE)
# Where a line was only full: "no focal consolidation, pleural" and below it "effusion or pneumothorax".
_WRAPPED = re.compile(
    r"^[^\n]{40,}(?<![.:;!?\s])[ \t]*\n(?=[ \t]*[a-z])"
    r"|^[^a-z\n]{40,}(?<![.:;!?\s])[ \t]*\n(?=[ \t]*[A-Z][^a-z\n:]*$)"
    r"|(?:,|(?<!:)(?<!: )\b(?i:the|an?|of|or|and|no|not|with|without|in|to|is|are|was|were|for|by|at|from|than|be))"
    r"[ \t]*\n",
    re.MULTILINE,
)

_Said = tuple[str, Mention]  # the sentence, and what it says


def label(text: str) -> Labels:
    """At most one label for each finding that the text speaks of, in the order of `FINDINGS`. Any text is allowed."""
    # Neither "vs." nor a line that was full ends a sentence. Its span is kept elsewhere as it is found with them.
    spans = find_sentences(_VERSUS.sub(" ", _unwrap(text)))
    sentences = (" ".join(text[start:end].split()) for start, end in spans)
    read = (sentence for sentence in sentences if len(sentence) <= _LONGEST)
    said = [(sentence, mention) for sentence in read for mention in read_sentence(sentence)]
    labels = (_conclude(finding, [each for each in said if each[1].finding is finding]) for finding in FINDINGS)
    return Labels(labeller(), tuple(found for each in labels for found in each))


def _unwrap(text: str) -> str:
    """Of the same length, with a blank for each line end within a sentence."""
    return _WRAPPED.sub(lambda line: line.group().replace("\n", " "), text)


@cache
def labeller() -> Labeller:
    """The digest is over the source of the rules: no change of them goes unnoticed."""
    digest = hashlib.sha256()
    for name in _RULES:
        digest.update(files("workers.labelling").joinpath(name).read_bytes())
    return Labeller(NAME, VERSION, digest.hexdigest())


def _conclude(finding: Finding, said: list[_Said]) -> list[Label]:
    """What the text as a whole says of a finding; nothing if it does not name it."""
    for presence in _STRONGEST_FIRST:
        if saying := [each for each in said if each[1].presence is presence]:
            sides = {mention.laterality for _, mention in saying}
            sentence, _ = saying[0]
            return [Label(finding.code, presence, _together(presence, sides), sentence)]
    return []


def _together(presence: Presence, sides: Iterable[Laterality]) -> Laterality:
    """Found left and right is found on both sides; denied without a side is denied on both."""
    if presence is Presence.ABSENT and Laterality.UNSAID in sides:
        return Laterality.UNSAID
    said = {side for side in sides if side is not Laterality.UNSAID}
    if not said:
        return Laterality.UNSAID
    return said.pop() if len(said) == 1 else Laterality.BILATERAL
