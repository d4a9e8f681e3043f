import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.escape import escape, unescape
from integration.report_text import clean, split_lines

TEXTS = st.text(st.one_of(st.sampled_from("|^~\\&\r\n\t\x0b\x1c\x00EFSTR"), st.characters()))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\\", "\\E\\"),
        ("|", "\\F\\"),
        ("^", "\\S\\"),
        ("&", "\\T\\"),
        ("~", "\\R\\"),
        ("\\F\\", "\\E\\F\\E\\"),
        ("3 < 4 & 5 | 6", "3 < 4 \\T\\ 5 \\F\\ 6"),
        ("Größe ≤ 3 mm", "Größe ≤ 3 mm"),
    ],
)
def test_delimiters_are_escaped_in_one_pass(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@pytest.mark.parametrize("control", ["\x0b", "\x1c", "\r", "\n", "\x00", "\x7f", "\x85"])
def test_control_characters_are_dropped(control: str) -> None:
    assert escape(f"a{control}b") == "ab"


@given(TEXTS)
def test_unescape_gives_back_what_escape_took(text: str) -> None:
    assert unescape(escape(text)) == clean(text)


@given(TEXTS)
def test_escaped_text_holds_no_delimiter(text: str) -> None:
    assert not set("|^~&\r\n\x0b\x1c") & set(escape(text))


@given(TEXTS)
def test_python_hl7_unescapes_to_the_same_text(text: str) -> None:
    message = hl7.parse("MSH|^~\\&|A|B|C|D|20260801||ORU^R01|1|P|2.5.1\r")
    assert message.unescape(escape(text)) == clean(text)


@pytest.mark.parametrize("escaped", ["\\.br\\", "\\X0A\\", "\\H\\", "\\"])
def test_escapes_that_are_not_ours_stay(escaped: str) -> None:
    assert unescape(escaped) == escaped


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ()),
        (" \r\n\t\n", ()),
        ("one", ("one",)),
        ("one\ntwo\rthree\r\nfour", ("one", "two", "three", "four")),
        ("\n\none  \n\n two\n\n", ("one", "", " two")),
        ("a\tb\x0bc", ("a bc",)),
    ],
)
def test_split_lines(text: str, lines: tuple[str, ...]) -> None:
    assert split_lines(text) == lines


@given(TEXTS)
def test_split_lines_loses_nothing_but_controls_and_outer_blanks(text: str) -> None:
    kept = "".join("".join(split_lines(text)).split())
    assert kept == "".join(clean(text.replace("\t", " ")).split())
