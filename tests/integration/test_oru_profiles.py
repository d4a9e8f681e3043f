"""The ORU as each destination wants it: version, text type, character set, acknowledgement mode."""

import re
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import CHECKS, FINDINGS, FLAGS, RIS, as_received, make_code, make_document, make_header, read_real
from test_charset import STUDY_FILES
from test_oru import FILMS

from dicom_node.errors import InvalidOutput
from dicom_node.peers import MllpDestination
from dicom_node.product import DISCLAIMER
from integration.document import Predecessor, ReportDocument
from integration.hl7_charset import codec_of
from integration.order_numbers import OrderNumbers
from integration.oru import build_oru, encode_oru
from integration.oru_gate import check_oru
from integration.report_text import split_lines

VERSIONS = ("2.3.1", "2.4", "2.5.1")
TEXT_TYPES = ("TX", "FT", "ED")
CHARACTER_SETS = ("ASCII", "8859/1", "8859/5", "8859/15", "UNICODE UTF-8")
BEFORE = Predecessor(
    revision=1,
    drafted_at=datetime(2026, 8, 1, 9, 15, 30, tzinfo=UTC),
    sop_class_uid="",
    sop_instance_uid="",
    series_instance_uid="",
)
REPLACES = "Replaces the AI draft of 2026-08-01 11:15:30 +0200."
LINES = [DISCLAIMER, *FINDINGS.split("\n")]


def ris(**settings: object) -> MllpDestination:
    return RIS.model_copy(update=settings)


def parsed(destination: MllpDestination, document: ReportDocument | None = None) -> hl7.Message:
    return hl7.parse(encode_oru(document or make_document(), destination).payload.decode(codec(destination)))


def codec(destination: MllpDestination) -> str:
    return codec_of(destination.character_set) or ""


def field(message: hl7.Message, segment: str, number: int) -> str:
    found = message.segment(segment)
    return str(found(number)) if number < len(found) else ""


def text_of(message: hl7.Message, destination: MllpDestination) -> list[str]:
    """The lines of the text as python-hl7 reads them."""
    values = [str(row(5)) for row in message.segments("OBX") if str(row(2)) == destination.text_type]
    if destination.text_type == "TX":
        return [message.unescape(value) for value in values]
    (value,) = values
    if destination.text_type == "FT":
        return str(message.unescape(value)).split("\r")
    application, *kind, data = value.split("^")
    assert (application, *kind) == ("CXRNODE", "TEXT", "plain", "Base64")
    return b64decode(data).decode(codec(destination)).split("\r\n")


# Versions


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_told_and_has_its_segments(version: str) -> None:
    message = parsed(ris(version=version))
    head = ["MSH", "PID", "PV1", "ORC", "OBR"] + (["TQ1"] if version == "2.5.1" else [])
    assert field(message, "MSH", 12) == version
    assert [str(segment(0)) for segment in message] == head + ["OBX"] * 5


@pytest.mark.parametrize(
    ("version", "equipment"), [("2.3.1", ""), ("2.4", "CXRNODE^cxrnode"), ("2.5.1", "CXRNODE^cxrnode")]
)
def test_equipment_is_told_where_the_version_has_a_field_for_it(version: str, equipment: str) -> None:
    assert field(parsed(ris(version=version)), "OBX", 18) == equipment


@pytest.mark.parametrize("path", [*FILMS, *STUDY_FILES], ids=str)
def test_every_real_header_passes_the_gate_of_the_old_versions_too(path: Path) -> None:
    document = make_document(read_real(path))
    name = field(parsed(RIS, document), "PID", 5)
    assert [field(parsed(ris(version=version), document), "PID", 5) for version in VERSIONS] == [name] * len(VERSIONS)


# Text types


def test_formatted_text_is_one_row_with_line_breaks() -> None:
    message = parsed(ris(text_type="FT"), make_document(flags=FLAGS))
    (row,) = [row for row in message.segments("OBX") if str(row(2)) == "FT"]
    assert (str(row(3)), str(row(4)), str(row(11))) == ("59776-5^Procedure Findings^LN", "1", "P")
    assert str(row(5)).split("\\.br\\")[1:4] == FINDINGS.split("\n")
    assert text_of(message, ris(text_type="FT")) == [*LINES, *CHECKS]


def test_encapsulated_text_is_one_row_that_is_a_report() -> None:
    message = parsed(ris(text_type="ED"), make_document(flags=FLAGS))
    (row,) = [row for row in message.segments("OBX") if str(row(2)) == "ED"]
    assert (str(row(3)), str(row(11))) == ("18748-4^Diagnostic Imaging Report^LN", "P")
    assert text_of(message, ris(text_type="ED")) == [*LINES, *CHECKS]


# Character sets


@pytest.mark.parametrize("text_type", TEXT_TYPES)
@pytest.mark.parametrize(
    ("character_set", "declared", "text"),
    [
        ("ASCII", "", "No effusion."),
        ("8859/1", "8859/1", "Größe unverändert"),
        ("8859/5", "8859/5", "Лёгкие чистые"),
        ("8859/15", "8859/15", "3 € œdème"),
        ("UNICODE UTF-8", "UNICODE UTF-8", "山 😀 שלום"),
    ],
)
def test_text_is_written_in_the_set_of_the_destination(
    character_set: str, declared: str, text: str, text_type: str
) -> None:
    destination = ris(character_set=character_set, text_type=text_type)
    message = parsed(destination, make_document(findings=text))
    assert field(message, "MSH", 18) == declared
    assert text_of(message, destination)[1] == text


@pytest.mark.parametrize("text_type", TEXT_TYPES)
@pytest.mark.parametrize(("character_set", "text"), [("ASCII", "Größe"), ("8859/1", "≤ 3 mm"), ("8859/5", "Größe")])
def test_text_that_the_set_does_not_hold_is_refused_in_words_without_it(
    character_set: str, text: str, text_type: str
) -> None:
    words = re.escape(f"has a character that {character_set} (MSH-18) does not hold")
    with pytest.raises(InvalidOutput, match=words) as caught:
        encode_oru(make_document(findings=text), ris(character_set=character_set, text_type=text_type))
    assert text not in str(caught.value)


def test_a_name_that_the_set_does_not_hold_is_refused_by_its_segment() -> None:
    header = make_header(PatientName="CANARY^Jürgen", SpecificCharacterSet="ISO_IR 192")
    with pytest.raises(InvalidOutput, match="PID has a character") as caught:
        encode_oru(make_document(as_received(header)), ris(character_set="ASCII"))
    assert "CANARY" not in str(caught.value)


def test_gate_refuses_bytes_of_another_set() -> None:
    document = make_document(findings="Größe")
    with pytest.raises(InvalidOutput, match="no text in UNICODE UTF-8"):
        check_oru(build_oru(document, RIS).encode("latin-1"), document, RIS)


# Acknowledgements


@pytest.mark.parametrize(
    ("acknowledgement", "conditions"), [("original", ("", "")), ("accept", ("AL", "NE")), ("application", ("AL", "AL"))]
)
def test_acknowledgement_is_asked_for(acknowledgement: str, conditions: tuple[str, str]) -> None:
    message = parsed(ris(acknowledgement=acknowledgement))
    assert (field(message, "MSH", 15), field(message, "MSH", 16)) == conditions


# What the order says


@pytest.mark.parametrize(
    ("procedure", "expected"),
    [
        (("CXR2", "Chest & ribs", "99RIS"), "CXR2^Chest \\T\\ ribs^99RIS"),
        (("CXR2", "", ""), "CXR2"),
        (("", "Chest", ""), "^Chest"),
        (("", "", ""), "18748-4^Diagnostic Imaging Report^LN"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_procedure_is_that_of_the_order_where_the_image_names_none(
    version: str, procedure: tuple[str, ...], expected: str
) -> None:
    document = make_document(order=OrderNumbers(procedure=procedure))
    assert field(parsed(ris(version=version), document), "OBR", 4) == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_what_images_orders_and_sites_say_is_sent_whole_however_long(version: str) -> None:
    """PS3.5 6.2: an LO has 64 characters; HL7 2.7 and later give no lengths."""
    issuer, text = "UNIVERSITY HOSPITAL OF SOMEWHERE", "Chest, two views. " * 15
    placer = ("PLC1", "RADIOLOGY INFORMATION SYSTEM")
    order = OrderNumbers(placer=placer, procedure=("CXR2", text.strip(), "99RADIOLOGYDEPARTMENT1"), names_study=True)
    document = make_document(as_received(make_header(IssuerOfPatientID=issuer)), order=order)
    message = parsed(ris(version=version, receiving_application="R" * 180), document)
    assert field(message, "PID", 3) == f"P0001^^^{issuer}^MR"
    assert field(message, "ORC", 2) == "^".join(placer)
    assert field(message, "OBR", 4) == "^".join(order.procedure)
    assert field(message, "MSH", 5) == "R" * 180


def test_procedure_of_the_image_wins_over_that_of_the_order() -> None:
    header = make_header(ProcedureCodeSequence=[make_code("CXR", "99SITE", "Chest")])
    document = make_document(as_received(header), order=OrderNumbers(procedure=("OTHER", "Other", "L")))
    assert field(parsed(RIS, document), "OBR", 4) == "CXR^Chest^99SITE"


PRIORITIES = [(0, "S", "Stat"), (1, "A", "ASAP"), (2, "T", "Timing critical"), (3, "P", "Preop"), (4, "C", "Callback")]


@pytest.mark.parametrize(("priority", "code", "words"), [*PRIORITIES, (5, "R", "Routine")])
def test_priority_is_that_of_the_order(priority: int, code: str, words: str) -> None:
    document = make_document(order=OrderNumbers(priority=priority))
    newest, oldest = parsed(RIS, document), parsed(ris(version="2.3.1"), document)
    assert (field(newest, "TQ1", 9), field(newest, "OBR", 27)) == (f"{code}^{words}^HL70485", f"^^^^^{code}")
    assert (field(oldest, "ORC", 7), field(oldest, "OBR", 27)) == (f"^^^^^{code}", f"^^^^^{code}")


def test_gate_refuses_another_priority() -> None:
    damaged = build_oru(make_document(), RIS).replace("|^^^^^R|", "|^^^^^S|").encode()
    with pytest.raises(InvalidOutput, match="OBR-27"):
        check_oru(damaged, make_document(), RIS)


# A later draft


@pytest.mark.parametrize("text_type", TEXT_TYPES)
def test_a_later_draft_says_which_it_replaces_and_is_as_preliminary(text_type: str) -> None:
    destination = ris(text_type=text_type)
    document = make_document(revision=2, predecessor=BEFORE)
    message = parsed(destination, document)
    assert text_of(message, destination)[:2] == [DISCLAIMER, REPLACES]
    first = parsed(destination)
    for name, number in (("OBR", 25), ("ORC", 2), ("ORC", 3), ("OBR", 18)):
        assert field(message, name, number) == field(first, name, number)
    assert field(message, "MSH", 10) != field(first, "MSH", 10)


def test_gate_refuses_a_later_draft_that_does_not_say_so() -> None:
    payload = build_oru(make_document(), RIS).encode()
    with pytest.raises(InvalidOutput, match="OBX-5, disclaimer"):
        check_oru(payload, make_document(predecessor=BEFORE), RIS)


# The gate


DAMAGES: dict[str, tuple[dict[str, object], str, Callable[[str], str]]] = {
    "final text": ({"text_type": "FT"}, "OBX-11", lambda text: text.replace("||||||P|", "||||||F|")),
    "final document": ({"text_type": "ED"}, "OBX-11", lambda text: text.replace("||||||P|", "||||||C|")),
    "final order": ({"version": "2.3.1"}, "OBR-25", lambda text: text.replace("|RAD|P|", "|RAD|F|")),
    "other version": ({"version": "2.4"}, "MSH-12", lambda text: text.replace("|2.4|", "|2.5|")),
    "other set": ({"character_set": "8859/1"}, "MSH-18", lambda text: text.replace("8859/1", "8859/2")),
    "other mode": ({"acknowledgement": "accept"}, "MSH-15", lambda text: text.replace("|AL|NE|", "|||")),
    "lost break": ({"text_type": "FT"}, "OBX-5, findings", lambda text: text.replace("\\.br\\\\.br\\", "\\.br\\")),
    "second text": (
        {"text_type": "FT"},
        "2 rows of text",
        lambda text: re.sub(r"(OBX\|2\|[^\r]*\r)", r"\1\1", text),
    ),
    "other document": ({"text_type": "ED"}, "OBX-5", lambda text: text.replace("^Base64^UFJF", "^Base64^UFJG")),
    "damaged document": (
        {"text_type": "ED"},
        "no Base64|not Base64",
        lambda text: text.replace("^Base64^U", "^Base64^*"),
    ),
    "other kind": ({"text_type": "ED"}, "no ED", lambda text: text.replace("^plain^", "^html^")),
    "text in another type": ({"text_type": "FT"}, "OBX-2", lambda text: text.replace("OBX|3|ST", "OBX|3|TX")),
}


@pytest.mark.parametrize(("profile", "words", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_gate_refuses(profile: dict[str, object], words: str, damage: Callable[[str], str]) -> None:
    destination = ris(**profile)
    text = build_oru(make_document(), destination)
    assert damage(text) != text
    with pytest.raises(InvalidOutput, match=words):
        check_oru(damage(text).encode(codec(destination)), make_document(), destination)


# Round trips


@st.composite
def profiles_and_texts(draw: st.DrawFn) -> tuple[MllpDestination, str]:
    """Any destination, and any text that its set holds: delimiters, escapes, line ends and controls included."""
    destination = ris(
        version=draw(st.sampled_from(VERSIONS)),
        text_type=draw(st.sampled_from(TEXT_TYPES)),
        character_set=draw(st.sampled_from(CHARACTER_SETS)),
    )
    special = st.sampled_from(
        ["\\.br\\", "\\X0A\\", "\\", "|", "^", "~", "&", "\r", "\n", "\t", "\x0b", "\x1c", "\x00"]
    )
    return destination, "".join(draw(st.lists(st.one_of(special, st.characters(codec=codec(destination))))))


@settings(deadline=None)
@given(profiles_and_texts())
def test_text_comes_back_from_every_profile_as_it_was_written(case: tuple[MllpDestination, str]) -> None:
    destination, findings = case
    document = make_document(findings=f"x{findings}x")
    text = encode_oru(document, destination).payload.decode(codec(destination))
    lines = [line for line in split_lines(document.findings) if line or destination.text_type != "TX"]
    assert text_of(hl7.parse(text), destination)[1:] == lines
    assert read_with_hl7apy(text, destination)[1:] == known_to_hl7apy(lines, destination)


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
@pytest.mark.parametrize(("character_set", "last"), [("ASCII", 0x7F), ("8859/1", 0xFF)])
def test_a_text_comes_back_or_is_refused(character_set: str, last: int, text: str) -> None:
    destination, document = ris(character_set=character_set), make_document(findings=f"x{text}x")
    if max(map(ord, text)) <= last:
        assert text_of(parsed(destination, document), destination)[1:] == [f"x{text}x"]
        return
    with pytest.raises(InvalidOutput, match="does not hold"):
        encode_oru(document, destination)


def read_with_hl7apy(text: str, destination: MllpDestination) -> list[str]:
    values = [row.obx_5.value for row in observations(parse_message(text)) if row.obx_2.value == destination.text_type]
    if destination.text_type == "ED":
        return b64decode(values[0].split("^")[4]).decode(codec(destination)).split("\r\n")
    meanings = {"E": "\\", "F": "|", "S": "^", "T": "&", "R": "~"}
    plain = [re.sub(r"\\([EFSTR])\\", lambda found: meanings[found[1]], value) for value in values]
    return plain[0].split("\\.br\\") if destination.text_type == "FT" else plain


def known_to_hl7apy(lines: list[str], destination: MllpDestination) -> list[str]:
    """hl7apy escapes what is an escape already: a line break is the same to it as a text that looks like one."""
    return "\\.br\\".join(lines).split("\\.br\\") if destination.text_type == "FT" else lines


def observations(element: Any) -> list[Any]:
    """The OBX below an element of hl7apy."""
    found = []
    for child in element.children:
        if child.name == "OBX":
            found.append(child)
        elif child.classname == "Group":
            found += observations(child)
    return found
