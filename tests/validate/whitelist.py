"""The messages of validators that are accepted, each with its reason: those of ../shared/tools, and our own few."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from report_samples import SHARED
from validators import Message

_FILES = (SHARED / "tools" / "validate_sr" / "whitelist.txt", Path(__file__).with_name("whitelist.txt"))


@dataclass(frozen=True)
class Rule:
    """Messages that match are accepted."""

    tool: str
    severity: str
    pattern: re.Pattern[str]
    reason: str

    def covers(self, message: Message) -> bool:
        is_its = (message.tool, message.severity) == (self.tool, self.severity)
        return is_its and self.pattern.search(message.words) is not None


def read_rules() -> list[Rule]:
    return [rule for file in _FILES for rule in _read(file)]


def _read(file: Path) -> Iterator[Rule]:
    """`TOOL SEVERITY REGEX` in a line; the comment above it is its reason, and that of the lines that follow it."""
    reason: list[str] = []
    is_reason_over = False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = [] if is_reason_over else reason
            reason.append(line.strip("# "))
            is_reason_over = False
        elif line.strip():
            tool, severity, pattern = line.split(maxsplit=2)
            yield Rule(tool, severity, re.compile(pattern), " ".join(reason))
            is_reason_over = True
        else:
            is_reason_over = True
