"""What a message was understood to say, and how values are taken out of the segments of one order."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dicom_node.setting_values import Hl7Path
from dicom_node.uids import is_uid
from integration.acknowledgement import DATA_TYPE_ERROR, error
from integration.er7 import Segment
from integration.escape import escape

LONGEST_IDENTIFIER = 199  # characters: ST in HL7 2.5.1 2.A.73
MOST_IDENTIFIERS = 100  # of one patient: a merge pairs them
_PATH = re.compile(r"(\w{3})-(\d+)(?:\.(\d+))?")
_ENTITY_PARTS = (1, 2, 3, 4)  # EI: identifier, namespace, universal ID and its type


@dataclass(frozen=True)
class Reading:
    """The facts of a message, in their order, and what they are in words, without patient data."""

    facts: tuple[object, ...]
    words: str


@dataclass(frozen=True)
class Group:
    """The segments that belong to one order, in their order."""

    segments: tuple[Segment, ...]

    def first(self, name: str) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == name), None)

    def component(self, name: str, number: int, component: int = 1) -> str:
        """Of the first segment of that name; empty where there is none."""
        segment = self.first(name)
        return segment.component(number, component) if segment else ""

    def identifier(self, paths: Iterable[Hl7Path]) -> str:
        """The first that is there. Raises Refused where it is too long."""
        return self._first(paths, lambda segment, number, part: _short(segment.component(number, part or 1), segment))

    def uid(self, paths: Iterable[Hl7Path]) -> str:
        """The first that is there. Raises Refused where it is no UID."""
        uid = self.identifier(paths)
        if uid and not is_uid(uid):
            raise error(DATA_TYPE_ERROR, "", "expected a UID as Study Instance UID")
        return uid

    def words(self, paths: Iterable[Hl7Path]) -> str:
        """The first that is there, all repetitions of it: of a coded element its text (CE.2), else its code."""
        return self._first(paths, _words)

    def entity(self, *paths: Hl7Path) -> str:
        """An order number (EI) as HL7 writes it in its recommended delimiters: the first that is there."""
        return self._first(paths, _entity)

    def _first(self, paths: Iterable[Hl7Path], take: Callable[[Segment, int, int | None], str]) -> str:
        for path in paths:
            name, number, part = _parse(path)
            segment = self.first(name)
            if segment and (value := take(segment, number, part)):
                return value
        return ""


def _parse(path: Hl7Path) -> tuple[str, int, int | None]:
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"{path} is no place in a message")
    return found[1], int(found[2]), int(found[3]) if found[3] else None


def _words(segment: Segment, number: int, part: int | None) -> str:
    found = [
        segment.part(each, part) if part else segment.part(each, 2) or segment.part(each, 1)
        for each in segment.repetitions(number)
    ]
    return ", ".join(filter(None, found))


def _entity(segment: Segment, number: int, _: int | None) -> str:
    if not segment.component(number):
        return ""
    parts = (segment.component(number, part) for part in _ENTITY_PARTS)
    return _short("^".join(map(escape, parts)).rstrip("^"), segment)


def _short(identifier: str, segment: Segment) -> str:
    if len(identifier) > LONGEST_IDENTIFIER:
        raise error(DATA_TYPE_ERROR, f"{segment.name}^1", f"expected identifiers of {LONGEST_IDENTIFIER} characters")
    return identifier
