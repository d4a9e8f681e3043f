"""The received header, read so that nothing in it stops a report and nothing of it reaches a warning.

pydicom validates values when they are touched and puts the offending value into a warning. Here values are decoded from
their bytes instead. Values that are not legal in their element (a sex `U`, a hashed birth date) are read as empty.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from dicom_node.errors import InvalidOutput
from integration.charset import Terms, decode, parse_terms
from integration.report_text import clean

TEXT_VRS = ("SH", "LO", "ST", "LT", "UC", "UT", "PN")  # PS3.5 6.1.2.2: what Specific Character Set governs
_LINE_VRS = ("ST", "LT", "UT")  # may hold CR and LF
_PADDING = " \0"
_NAME_DELIMITERS = re.compile(r"[\^=]")  # PS3.5 6.2.1
_SEX = re.compile(r"[MFO]")  # PS3.3 C.2.3, (0010,0040)
_AGE = re.compile(r"\d{3}[DWMY]")  # PS3.5 6.2, AS
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")  # TM
_DECIMAL = re.compile(r"(?=.{1,16}$)[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")  # DS
_ABOVE_ZERO = re.compile(rf"(?=.*[1-9]){_DECIMAL.pattern}")  # what senders write that do not know is no size or weight
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")  # PS3.3 C.12.1.1.8, (0008,0201)
_LEGAL = {
    "PatientSex": _SEX,
    "PatientAge": _AGE,
    "PatientSize": _ABOVE_ZERO,
    "PatientWeight": _ABOVE_ZERO,
    "TimezoneOffsetFromUTC": _OFFSET,
}
_LEGAL_BY_VR = {"TM": _TIME, "DS": _DECIMAL}


@dataclass(frozen=True)
class SourceHeader:
    """A data set or sequence item, with the character set that governs it."""

    dataset: Dataset
    terms: Terms

    @classmethod
    def of(cls, dataset: Dataset, inherited: Terms = ()) -> "SourceHeader":
        """inherited: the set of the enclosing data set, for an item without its own (PS3.5 7.5.3)."""
        own = _joined(dataset, tag_of("SpecificCharacterSet"), ())
        return cls(dataset, inherited if own is None else parse_terms(own))

    def text(self, keyword: str) -> str:
        """The value without padding and control characters; empty if it is absent, empty or not legal."""
        return _readable(keyword, _joined(self.dataset, tag_of(keyword), self.terms) or "")

    def first(self, keyword: str) -> str:
        """As `text`, of an element that may have several values: the first of them."""
        value = _joined(self.dataset, tag_of(keyword), self.terms) or ""
        return _readable(keyword, value.split("\\")[0])

    def require(self, keyword: str) -> str:
        """As `text`; raises InvalidOutput if there is nothing."""
        if value := self.text(keyword):
            return value
        raise InvalidOutput(f"source header: {keyword} is missing or empty, expected a value")

    def items(self, keyword: str) -> tuple["SourceHeader", ...]:
        value = self.dataset[keyword].value if keyword in self.dataset else None
        return tuple(SourceHeader.of(item, self.terms) for item in value) if isinstance(value, Sequence) else ()

    def texts(self) -> Iterator[tuple[str, str]]:
        """All (VR, value) that Specific Character Set governs, in order, items included."""
        for tag in sorted(self.dataset.keys()):
            vr = dictionary_VR(tag)
            if vr == "SQ":
                for item in self.dataset[tag].value:
                    yield from SourceHeader.of(item, self.terms).texts()
            elif vr in TEXT_VRS:
                value = (_joined(self.dataset, tag, self.terms) or "").rstrip(_PADDING)
                yield from ((vr, each) for each in ([value] if vr in _LINE_VRS else value.split("\\")))


def tag_of(keyword: str) -> BaseTag:
    """Raises KeyError for a keyword that PS3.6 does not know: a bug."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return BaseTag(tag)


def _joined(dataset: Dataset, tag: BaseTag, terms: Terms) -> str | None:
    """The whole value as one string, several values joined by the backslash; None if the element is absent."""
    element = dataset.get_item(tag)
    if element is None:
        return None
    if isinstance(element, RawDataElement):
        return decode(element.value or b"", terms)
    value = element.value
    if isinstance(value, MultiValue):
        return "\\".join(map(str, value))
    return "" if value is None else str(value)


def _readable(keyword: str, value: str) -> str:
    vr = dictionary_VR(tag_of(keyword))
    value = "\n".join(map(clean, value.split("\n"))).replace("\n", "\r\n") if vr in _LINE_VRS else clean(value)
    return _legal(keyword, vr, _trim(vr, value))


def _trim(vr: str, value: str) -> str:
    """Drop what the standard calls insignificant: padding, and empty groups at the end of a name (PS3.5 6.2, 6.2.1).

    A name of nothing but blanks, of whatever script, is none: no reader sees it, and HL7 readers call it absent.
    """
    if vr in _LINE_VRS:
        return value.rstrip(_PADDING)
    if vr != "PN":
        return value.strip(_PADDING)
    return value.rstrip(_PADDING + "=") if _NAME_DELIMITERS.sub("", value).strip() else ""


def _legal(keyword: str, vr: str, value: str) -> str:
    if vr == "DA":
        return _date(value)
    rule = _LEGAL.get(keyword) or _LEGAL_BY_VR.get(vr)
    return "" if rule and not rule.fullmatch(value) else value


def _date(value: str) -> str:
    """YYYYMMDD, or empty. ACR-NEMA's YYYY.MM.DD is the same date (PS3.5 6.2, note to DA)."""
    digits = value.replace(".", "")
    if not re.fullmatch(r"\d{8}", digits):
        return ""
    try:
        datetime.strptime(digits, "%Y%m%d")  # noqa: DTZ007 a calendar day has no zone
    except ValueError:
        return ""
    return digits
