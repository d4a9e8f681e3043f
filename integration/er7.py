"""HL7 v2 messages as they come: cut into segments, fields and components, whatever delimiters the sender declares.

Tolerant by design: line ends of any kind, unknown and empty segments, a missing MSH-9.3. What a message must have is
for its readers to say. Source: HL7 2.5.1 2.5 to 2.7.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from integration.report_text import clean

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RECOMMENDED = "^~\\&"  # MSH-2: component, repetition, escape, subcomponent
_LINE_END = re.compile(r"\r\n|\r|\n")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_CONTROLS = dict.fromkeys(set(range(0x20)) - {0x1B})  # but ESC, which switches codes (HL7 2.5.1 2.7.2)
_NULL = '""'  # HL7 2.5.1 2.5.3: the value is to be deleted
# HL7 2.5.1 2.7: what an escape stands for; F, S, T, R and E stand for the delimiters.
_FORMATS = {".br": "\n", ".sp": "\n", "H": "", "N": ""}
_HEXADECIMAL = re.compile(r"X(?:[0-7][0-9A-Fa-f])+")  # beyond ASCII they depend on the character set: left as they are
# A message, or an envelope of a batch (HL7 2.5.1 2.10.3), begins a line. A line of text may begin with `BTS:`, too.
_BORDER = rb"(?:\A|(?<=[\r\n]))(?=MSH[^A-Za-z0-9\s]|(?:FHS|BHS|BTS|FTS)%b)"
MOST_MESSAGES = 10_000  # in a block
_TEXTS = ("OBX", "NTE")
_ENVELOPES = (b"FHS", b"BHS", b"BTS", b"FTS")


@dataclass(frozen=True)
class Delimiters:
    """MSH-1 and the characters of MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @classmethod
    def of(cls, header: str) -> "Delimiters":
        """header: an MSH segment. What a short MSH-2 leaves out is as HL7 recommends."""
        declared = header[4:].split(header[3], 1)[0]
        return cls(header[3], *(declared + _RECOMMENDED[len(declared) :])[:4])

    def unescape(self, text: str) -> str:
        """The text behind the escapes. Those that are unknown stay as they are."""
        if self.escape not in text:
            return text
        mark = re.escape(self.escape)
        return re.sub(f"{mark}([^{mark}]*){mark}", self._meaning, text)

    def _meaning(self, escape: re.Match[str]) -> str:
        code = escape[1]
        delimiters = {
            "F": self.field,
            "S": self.component,
            "T": self.subcomponent,
            "R": self.repetition,
            "E": self.escape,
        }
        if _HEXADECIMAL.fullmatch(code):
            return bytes.fromhex(code[1:]).decode("ascii")
        return (delimiters | _FORMATS).get(code, escape[0])


@dataclass(frozen=True)
class Segment:
    """One segment: `fields[n]` is field n as it came."""

    fields: list[str]
    delimiters: Delimiters

    @property
    def name(self) -> str:
        return self.fields[0]

    def field(self, number: int) -> str:
        """As it came, empty where absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list[str]:
        """The repetitions that hold something."""
        return [each for each in self.field(number).split(self.delimiters.repetition) if each]

    def component(self, number: int, component: int = 1) -> str:
        """A component of the first repetition, unescaped, without control characters."""
        repetitions = self.repetitions(number)
        return self.part(repetitions[0], component) if repetitions else ""

    def part(self, repetition: str, component: int) -> str:
        """A component of a repetition, unescaped, without control characters."""
        parts = repetition.split(self.delimiters.component)
        return self.plain(parts[component - 1]) if component <= len(parts) else ""

    def subparts(self, repetition: str, component: int) -> list[str]:
        """The subcomponents of a component of a repetition."""
        parts = repetition.split(self.delimiters.component)
        raw = parts[component - 1] if component <= len(parts) else ""
        return [self.plain(each) for each in raw.split(self.delimiters.subcomponent)]

    def plain(self, raw: str) -> str:
        """Unescaped, on one line, without control characters; the null value is empty."""
        if raw == _NULL:
            return ""
        return clean(self.delimiters.unescape(raw).replace("\n", " ")).strip()


@dataclass(frozen=True)
class Message:
    """The segments in the order they came, MSH first."""

    segments: list[Segment]

    @classmethod
    def of(cls, text: str) -> "Message":
        """text: a message that begins with MSH. A line that begins no segment goes on with the one before it."""
        delimiters = Delimiters.of(text)
        return cls([_segment(line, delimiters) for line in _lines(text, delimiters.field)])

    @property
    def header(self) -> Segment:
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        return next((segment for segment in self.segments if segment.name == name), None)


def read_header(raw: bytes) -> Segment | None:
    """The MSH segment of a message of any character set, byte for byte as Latin-1; None if it begins with none.

    Control characters, which would break the frame of an answer that repeats a field, are left out.
    """
    line = re.split(rb"[\r\n]", raw.removeprefix(BYTE_ORDER_MARK).lstrip(), maxsplit=1)[0].decode("latin-1")
    if not re.match(r"MSH[^\w\s]", line):
        return None
    line = line.translate(_CONTROLS)
    return _segment(line, Delimiters.of(line))


def split_batch(block: bytes) -> list[bytes]:
    """The messages of a block: one, or those of a batch or file without their envelopes (FHS, BHS, BTS, FTS)."""
    if block.count(b"MSH") > MOST_MESSAGES:
        return [block]  # which its reader refuses
    bare = block.removeprefix(BYTE_ORDER_MARK)
    border = _BORDER % re.escape(bare.lstrip()[3:4])
    pieces = [piece for piece in re.split(border, bare) if piece.strip()]
    messages = [piece for piece in pieces if not piece.startswith(_ENVELOPES)]
    return messages if len(messages) > 1 or len(pieces) > len(messages) > 0 else [block]


def _segment(line: str, delimiters: Delimiters) -> Segment:
    """MSH-1 is the delimiter itself, so the fields of MSH are counted from there."""
    fields = line.split(delimiters.field)
    return Segment(["MSH", delimiters.field, *fields[1:]] if fields[0] == "MSH" else fields, delimiters)


def _lines(text: str, field_delimiter: str) -> Iterator[str]:
    """The segments: some senders leave line ends within a text unescaped. Nothing is added to MSH."""
    segment = ""
    for line in _LINE_END.split(text):
        # A bare name is an empty segment, but within a text three capitals: NAD
        ends = (field_delimiter,) if segment.startswith(_TEXTS) else ("", field_delimiter)
        begins = _SEGMENT.match(line) is not None and line[3:4] in ends
        if begins and segment:
            yield segment
        if begins:
            segment = line
        elif line and segment and not segment.startswith("MSH"):
            segment += f"\n{line}"
    if segment:
        yield segment
