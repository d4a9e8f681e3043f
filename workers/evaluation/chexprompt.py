"""CheXprompt: a language model counts six types of errors in a report, significant for the patient and not.

Its idea, error types and answer format; the wording and the examples are our own (the published examples are derived
from MIMIC-CXR and may not be shipped), so the numbers must not be compared with published ones.
Source: Zambrano Chaves et al., arXiv 2403.08002; microsoft/chexprompt for the answer format.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.errors import Permanent

PROMPT_VERSION = "1"
NOT_COMPARABLE = (
    "CheXprompt counts by this program's own prompt and synthetic examples: do not compare them with published numbers."
)
Message = dict[str, str]  # role and content, as OpenAI-compatible endpoints take them
Counts = tuple[int, int, int, int, int, int]  # in the order of ErrorType


class ErrorType(StrEnum):
    """Letters A to F of an answer, in this order."""

    FALSE_POSITIVE_FINDING = "false_positive_finding"
    OMISSION_FINDING = "omission_finding"
    INCORRECT_LOCATION = "incorrect_location"
    INCORRECT_SEVERITY = "incorrect_severity"
    FALSE_POSITIVE_COMPARISON = "false_positive_comparison"
    OMISSION_COMPARISON = "omission_comparison"


@dataclass(frozen=True)
class ErrorCounts:
    """What one answer says of one candidate."""

    significant: Counts
    insignificant: Counts

    @property
    def total(self) -> int:
        return sum(self.significant) + sum(self.insignificant)


class UnreadableAnswer(Permanent):
    """The model answered, but not in the form it was asked for. The message never cites the answer."""


_LETTERS = "ABCDEF"
_MEANINGS = (
    "a finding is stated that the reference does not have",
    "a finding of the reference is missing",
    "a finding is placed at a wrong side or position",
    "a finding is described as too mild or too severe",
    "a comparison with an earlier examination is stated that the reference does not have",
    "a change since an earlier examination that the reference describes is missing",
)
_HEADER = "Number of clinically {} errors by type:"
_SYSTEM = (
    "You are an expert chest radiologist who checks draft reports. You count the errors of a candidate report against "
    "the reference report, type by type, and answer with the two requested lines and nothing else."
)
_TASK = (
    "Count the errors in the candidate report, with the reference report as the truth.\n"
    "An error is clinically significant if it is likely to change treatment, management or outcome; any other error is "
    "clinically insignificant. Count every error once, under one type. Differences in wording alone are no errors.\n"
    "Types:\n{types}\n"
    "Answer with these two lines, all six types in each, also where the number is 0:\n{form}\n\n{examples}"
)
_CASE = 'Reference report:\n"""{reference}"""\nCandidate report:\n"""{candidate}"""\nErrors:\n'
_NO_ERRORS: Counts = (0, 0, 0, 0, 0, 0)
# Written for this program; no patient's report.
_EXAMPLES = (
    (
        "The lungs are clear. Heart size is normal. No pleural effusion or pneumothorax.",
        "Lungs are clear without effusion or pneumothorax. The heart is not enlarged.",
        ErrorCounts(_NO_ERRORS, _NO_ERRORS),
    ),
    (
        "Large left pneumothorax with collapse of the left lung. Old healed fracture of the right sixth rib.",
        "Small right pneumothorax.",
        ErrorCounts((0, 0, 1, 1, 0, 0), (0, 1, 0, 0, 0, 0)),
    ),
    (
        "Right basal consolidation, larger than on the earlier examination. Small right pleural effusion.",
        "Unchanged cardiomegaly. Right basal consolidation. Small right pleural effusion.",
        ErrorCounts((1, 0, 0, 0, 0, 1), (0, 0, 0, 0, 1, 0)),
    ),
)
_PAIR = r"\(\s*([A-F])\s*,\s*(\d{1,3})\s*\)"
_LIST = re.compile(rf"\s*[\[(]\s*{_PAIR}(?:\s*,\s*{_PAIR}){{5}}\s*[\])]")


def build_messages(reference: str, candidate: str) -> list[Message]:
    """The request for one pair."""
    types = "\n".join(f"{letter}. {meaning}" for letter, meaning in zip(_LETTERS, _MEANINGS, strict=True))
    form = _answer(["n"] * 6, ["n"] * 6)
    examples = "\n\n".join(_case(*texts) + _answer(c.significant, c.insignificant) for *texts, c in _EXAMPLES)
    task = _TASK.format(types=types, form=form, examples=examples)
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{task}\n\n{_case(reference, candidate)}"},
    ]


def parse_answer(answer: str) -> ErrorCounts:
    """Read the two lists; what follows the word Explanation is not looked at.

    Raises UnreadableAnswer unless each list is there once and holds each of A to F once.
    """
    body = answer.partition("Explanation")[0]
    return ErrorCounts(_parse_list(body, "significant"), _parse_list(body, "insignificant"))


def sum_by_type(ratings: Sequence[ErrorCounts]) -> dict[str, dict[ErrorType, int]]:
    """Errors of all reports together, by significance and type."""
    return {
        "clinically_significant": _sum([each.significant for each in ratings]),
        "clinically_insignificant": _sum([each.insignificant for each in ratings]),
    }


def _sum(counts: Sequence[Counts]) -> dict[ErrorType, int]:
    return {kind: sum(each[index] for each in counts) for index, kind in enumerate(ErrorType)}


def _case(reference: str, candidate: str) -> str:
    # A report cannot close its own quotes.
    quoted = [text.replace('"""', '"') for text in (reference, candidate)]
    return _CASE.format(reference=quoted[0], candidate=quoted[1])


def _answer(significant: Sequence[object], insignificant: Sequence[object]) -> str:
    return "\n".join(
        f"{_HEADER.format(name)} [{', '.join(f'({letter}, {n})' for letter, n in zip(_LETTERS, counts, strict=True))}]"
        for name, counts in (("significant", significant), ("insignificant", insignificant))
    )


def _parse_list(body: str, name: str) -> Counts:
    _, *after = body.split(_HEADER.format(name))
    if len(after) != 1:
        raise UnreadableAnswer(f"the answer has {len(after)} lists of clinically {name} errors, expected 1")
    found = _LIST.match(after[0])
    if found is None:
        raise UnreadableAnswer(f"the list of clinically {name} errors is not six pairs of a letter and a number")
    counts = {letter: int(number) for letter, number in re.findall(_PAIR, found.group())}
    if len(counts) != len(_LETTERS):
        raise UnreadableAnswer(f"the list of clinically {name} errors names a type twice")
    a, b, c, d, e, f = (counts[letter] for letter in _LETTERS)
    return a, b, c, d, e, f
