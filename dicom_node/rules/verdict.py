"""What the rules say of a film: the first that matches takes it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dicom_node.rules.film import Film
from dicom_node.rules.rule import Rule

NO_RULE = "no rule took it: it is read as without rules"


@dataclass(frozen=True)
class Asked:
    """One rule that was asked about a film."""

    rule: Rule
    miss: str  # why it does not take the film, in words that quote it; empty: it takes it


@dataclass(frozen=True)
class Verdict:
    """The rules that were asked, in their order; only the last may have taken the film."""

    asked: tuple[Asked, ...]

    @property
    def rule(self) -> Rule | None:
        return self.asked[-1].rule if self.asked and not self.asked[-1].miss else None

    @property
    def words(self) -> str:
        """For the timeline: it quotes the rules' file, never the film."""
        return NO_RULE if self.rule is None else self.rule.words


@dataclass(frozen=True)
class Explanation:
    """Which rule would take a study or a file, and why."""

    refusal: str  # why the node reads none of its images, whatever the rules say; empty if it reads one
    film: Film | None = None  # what the rules are asked about; None where there is a refusal
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Decision:
    """What the rules said of the image that is to be drafted: `Job.decision`. It stands when the file changes."""

    instance_id: int | None  # None: they could not be asked, the worker asks
    rule: str = ""  # its name; empty: none took it
    destinations: tuple[str, ...] | None = None  # None: all

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Decision":
        stored = json.loads(text)
        names = stored["destinations"]
        return cls(stored["instance_id"], stored["rule"], None if names is None else tuple(names))


def judge(rules: Sequence[Rule], film: Film) -> Verdict:
    asked: list[Asked] = []
    for rule in rules:
        asked.append(Asked(rule, rule.miss(film)))
        if not asked[-1].miss:
            break
    return Verdict(tuple(asked))
