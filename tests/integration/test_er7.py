"""HL7 as it comes: any delimiters, any line ends, batches, escapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.er7 import Message, Segment, read_header, split_batch
from integration.escape import escape
from integration.report_text import clean

MSH = "MSH|^~\\&|RIS|HOSP|NODE|RAD|20260301||ORM^O01|1|P|2.5.1"


def read(text: str) -> Message:
    return Message.of(text)


def names(text: str) -> list[str]:
    return [segment.name for segment in read(text).segments]


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n\n", "\r\r\n"])
def test_segments_end_with_any_line_end(end: str, last: str) -> None:
    message = read(end.join([MSH, "PID|1||P1", "PV1|1|O"]) + last)
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "PV1"]
    assert message.segments[1].component(3) == "P1"


def test_fields_of_the_header_are_counted_from_the_delimiter() -> None:
    header = read(MSH).header
    assert (header.field(1), header.field(2), header.field(10), header.component(9, 2)) == ("|", "^~\\&", "1", "O01")


@pytest.mark.parametrize(
    ("declared", "field"),
    [
        ("^~\\&", "A^B&C~D^E"),
        ("@~\\&", "A@B&C~D@E"),
        ("^~\\&#", "A^B&C~D^E"),
        ("*", "A*B&C~D*E"),
        ("", "A^B&C~D^E"),
    ],
)
def test_the_declared_delimiters_are_used_and_missing_ones_are_the_recommended(declared: str, field: str) -> None:
    segment = read(f"MSH|{declared}|RIS\rOBX|1|{field}").segments[1]
    assert [segment.part(each, 1) for each in segment.repetitions(2)] == ["A", "D"]
    assert segment.subparts(segment.repetitions(2)[0], 2) == ["B", "C"]


def test_another_field_delimiter_is_used() -> None:
    assert read("MSH!^~\\&!RIS\rPID!1!!P1").segments[1].component(3) == "P1"


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("one\\.br\\two", "one two"),
        ("one\\X0D0A\\two", "one two"),
        ("\\H\\loud\\N\\", "loud"),
        ("\\Zxy\\", "\\Zxy\\"),
        ("\\XE4\\", "\\XE4\\"),
        ("C:\\dir", "C:\\dir"),
        ('""', ""),
        ("  wide  ", "wide"),
    ],
)
def test_escapes_are_read_and_unknown_ones_stay(raw: str, plain: str) -> None:
    assert read(f"{MSH}\rNTE|{raw}").segments[1].component(1) == plain


@given(text=st.text())
def test_any_escaped_text_comes_back(text: str) -> None:
    segment = read(f"{MSH}\rNTE|{escape(text)}").segments[1]
    assert segment.component(1) in (clean(text).strip(), "" if clean(text) == '""' else None)


def test_a_line_that_begins_no_segment_goes_on_with_the_one_before() -> None:
    obx = read(f"{MSH}\rOBX|1|TX|||first line\nsecond | line\n\nthird||||||F").segments[1]
    assert obx.component(5) == "first line second"
    assert obx.field(0) == "OBX"
    assert names(f"{MSH}\nlower|case\nPID|1") == ["MSH", "PID"]
    assert read(f"{MSH}\nlower|case\nPID|1").header.field(12) == "2.5.1"


def test_three_capitals_on_a_line_of_a_text_are_text() -> None:
    message = read(f"{MSH}\rOBX|1|TX|||CHEST\nNAD\nNo change.||||||F\rPV1\r")
    assert message.segments[1].component(5) == "CHEST NAD No change."


def test_empty_and_unknown_segments_are_kept() -> None:
    assert names(f"{MSH}\r||||\rZZZ|1\rOBX\r") == ["MSH", "ZZZ", "OBX"]


def test_a_batch_is_split_into_its_messages() -> None:
    one, two = f"{MSH}\rPID|1\r".encode(), f"{MSH}\rPID|2\r".encode()
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + one + two + b"BTS|2\rFTS|1\r"
    assert split_batch(batch) == [one, two]
    assert split_batch(b"\xef\xbb\xbf" + batch.replace(b"\r", b"\r\n")) == [
        each.replace(b"\r", b"\r\n") for each in (one, two)
    ]
    assert split_batch(one + two) == [one, two]


def test_a_line_of_text_that_begins_like_an_envelope_is_text() -> None:
    """British Thoracic Society; senders leave line ends within a text unescaped."""
    report = f"{MSH}\rOBX|1|TX|||Nodule of 4 mm.\nBTS: no follow-up.||||||F\r".encode()
    assert split_batch(report) == [report]


@pytest.mark.parametrize(
    "block", [b"", b"rubbish", b"FHS|^~\\&\rFTS|0\r", b"\xef\xbb\xbfMSH|^~\\&|A\r", b"\r\nMSH|^~\\&|A"]
)
def test_what_is_one_message_or_none_stays_as_it_came(block: bytes) -> None:
    assert split_batch(block) == [block]


def test_a_header_is_read_byte_for_byte_without_control_characters() -> None:
    header = read_header(b"\xef\xbb\xbf\r\nMSH|^~\\&|R\xc3\xa4I\x1cS\x0b||\nPID|1")
    assert header is not None
    assert header.field(3).encode("latin-1") == b"R\xc3\xa4IS"


@pytest.mark.parametrize("raw", [b"", b"MSH", b"MSHx", b"PID|1", b"GET / HTTP/1.1\r\n", b"\x00MSH|^~\\&"])
def test_what_begins_with_no_header_has_none(raw: bytes) -> None:
    assert read_header(raw) is None


@given(raw=st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    for each in split_batch(b"MSH|" + raw):
        header = read_header(each)
        assert header is None or isinstance(header, Segment)
    read("MSH|" + raw.decode("latin-1"))
