"""An ORU cut into fields, by nothing that wrote it."""

from dataclasses import dataclass

from integration.escape import unescape

Segment = list[str]  # [n] is field n


@dataclass(frozen=True)
class OruReader:
    """head: the names of the segments before the first OBX, each of which comes once."""

    segments: list[Segment]
    head: tuple[str, ...]

    @classmethod
    def read(cls, text: str, head: tuple[str, ...]) -> "OruReader":
        return cls([_split(segment) for segment in text.removesuffix("\r").split("\r")], head)

    @property
    def names(self) -> list[str]:
        return [segment[0] for segment in self.segments]

    @property
    def observations(self) -> list[Segment]:
        return self.segments[len(self.head) :]

    def field(self, name: str, number: int) -> str:
        """Of a segment of the head."""
        return field(self.segments[self.head.index(name)], number)

    def values(self, code: str) -> list[str]:
        """OBX-5 of all rows with that OBX-3.1, as it came."""
        return [field(each, 5) for each in self.observations if component(field(each, 3), 1) == code]


def field(segment: Segment, number: int) -> str:
    """As it came, empty where absent."""
    return segment[number] if number < len(segment) else ""


def component(value: str, number: int) -> str:
    """Of a field that is not repeated, unescaped, empty where absent."""
    parts = value.split("^")
    return unescape(parts[number - 1]) if number <= len(parts) else ""


def entity(value: str) -> tuple[str, ...]:
    """EI."""
    return tuple(map(unescape, value.split("^"))) if value else ()


def _split(segment: str) -> Segment:
    """MSH-1 is the separator itself, so MSH fields are counted from there."""
    fields = segment.split("|")
    return ["MSH", "|", *fields[1:]] if fields[0] == "MSH" else fields
