"""What a check finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.config import Settings


class Verdict(StrEnum):
    """Only a fault keeps the node from its work."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Diagnosis:
    """One line of the doctor's table."""

    what: str  # what was looked at: "database", "PACS main"
    verdict: Verdict
    words: str  # what was found
    fix: str = ""  # what to do about it; empty when there is nothing to do


Check = Callable[[Settings], Iterator[Diagnosis]]


def ok(what: str, words: str) -> Diagnosis:
    return Diagnosis(what, Verdict.OK, words)


def warning(what: str, words: str, fix: str) -> Diagnosis:
    return Diagnosis(what, Verdict.WARNING, words, fix)


def fault(what: str, words: str, fix: str) -> Diagnosis:
    return Diagnosis(what, Verdict.FAULT, words, fix)
