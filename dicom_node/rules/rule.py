"""One rule: which films it takes, and what becomes of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.orders import ROUTINE
from dicom_node.rules.film import Element, Film
from dicom_node.wildcards import covers, is_like

# By name, Job.priority: of orders (HL7 table 0485) the words that sites use, and one behind all of them.
PRIORITIES: Mapping[str, int] = {"stat": 0, "asap": 1, "routine": ROUTINE, "low": 9}


@dataclass(frozen=True)
class Condition:
    """An element of the film is like one of the patterns. One that is not stated is like none."""

    element: Element
    patterns: tuple[str, ...]

    def is_met(self, film: Film) -> bool:
        return any(is_like(value, pattern) for value in film[self.element] for pattern in self.patterns)

    def covers(self, other: "Condition") -> bool:
        """Whether it is met wherever the other is."""
        is_same = self.element == other.element
        return is_same and all(any(covers(mine, theirs) for mine in self.patterns) for theirs in other.patterns)

    def miss(self, film: Film) -> str:
        """Why it is not met, for people; it quotes the film."""
        found = ", ".join(film[self.element])
        if not found:
            return f"{self.element.spoken} is not stated"
        return f"{self.element.spoken} {found} is not like {' or '.join(self.patterns)}"

    @property
    def words(self) -> str:
        return f"{self.element.spoken} {' or '.join(self.patterns)}"


@dataclass(frozen=True)
class Rule:
    """It takes the films that meet all its conditions."""

    name: str
    line: int  # of the file
    when: tuple[Condition, ...] = ()
    is_read: bool = True
    priority: str | None = None  # a name in PRIORITIES; None: as without rules
    destinations: tuple[str, ...] | None = None  # names in the settings; None: all

    def miss(self, film: Film) -> str:
        """Why it does not take the film, for people; empty if it does."""
        return "; ".join(condition.miss(film) for condition in self.when if not condition.is_met(film))

    def covers(self, other: "Rule") -> bool:
        """Whether it takes all that the other would."""
        return all(any(mine.covers(theirs) for theirs in other.when) for mine in self.when)

    @property
    def conditions(self) -> str:
        """In words."""
        return ", ".join(condition.words for condition in self.when) or "every film"

    @property
    def effect(self) -> str:
        """What becomes of a film that it takes, in words for the timeline."""
        if not self.is_read:
            return "it is not to be read"
        priority = f"priority {self.priority}" if self.priority else ""
        return ", ".join(filter(None, (priority, self._addressees))) or "it is read as without rules"

    @property
    def words(self) -> str:
        """For the timeline: it quotes the rules' file, never the film."""
        return f"rule {self.name} took it: {self.effect}"

    @property
    def _addressees(self) -> str:
        if self.destinations is None:
            return ""
        return f"for {', '.join(self.destinations)} alone" if self.destinations else "for no destination"
