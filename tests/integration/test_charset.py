from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from report_samples import (
    PACS,
    RIS,
    SHARED,
    as_received,
    make_document,
    make_header,
    make_request,
    read_leniently,
    read_real,
)

from integration.charset import UTF_8, decode, holds, is_known, parse_terms
from integration.oru import build_oru, encode_oru
from integration.source_header import SourceHeader
from integration.structured_report import build_sr, encode_sr

FOLDER = SHARED / "data" / "charset"
WITHOUT_STUDY = {"chrSQEncoding.dcm", "chrSQEncoding1.dcm", "empty_charset_LEI.dcm"}
FILES = sorted(FOLDER.glob("*.dcm")) or [
    pytest.param(None, marks=pytest.mark.skip(reason=f"{FOLDER} is absent: the published files are not in the project"))
]
STUDY_FILES = [each for each in FILES if not (isinstance(each, Path) and each.name in WITHOUT_STUDY)]
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize("path", STUDY_FILES, ids=str)
def test_name_comes_back_from_the_sr_as_it_came(path: Path) -> None:
    payload = encode_sr(make_document(read_real(path)), PACS).payload
    assert read_leniently(payload, "PatientName") == read_leniently(path, "PatientName") != ""
    assert read_leniently(payload, "SpecificCharacterSet") == read_leniently(path, "SpecificCharacterSet")


@pytest.mark.parametrize("path", STUDY_FILES, ids=str)
def test_name_comes_back_even_when_the_report_needs_utf_8(path: Path) -> None:
    payload = encode_sr(make_document(read_real(path), findings="Größe ≤ 3 mm — 山 😀"), PACS).payload
    assert read_leniently(payload, "PatientName") == read_leniently(path, "PatientName")
    expected = "GB18030" if path.name == "chrX2.dcm" else "ISO_IR 192"
    assert read_leniently(payload, "SpecificCharacterSet") == expected


@pytest.mark.parametrize("path", STUDY_FILES, ids=str)
def test_name_comes_back_from_the_oru_as_it_came(path: Path) -> None:
    """The gate would refuse anything else; the pieces of the name are looked for once more."""
    message = encode_oru(make_document(read_real(path)), RIS).payload.decode()
    name = read_leniently(path, "PatientName")
    field = message.split("\r")[1].split("|")[5]
    assert [part for part in name.replace("=", "^").split("^") if part not in field.replace("~", "^").split("^")] == []


@pytest.mark.parametrize("path", [each for each in FILES if each not in STUDY_FILES], ids=str)
def test_sequence_items_with_their_own_set_are_read_in_it(path: Path) -> None:
    ds = read_real(path)
    items = SourceHeader.of(ds).items("RequestedProcedureCodeSequence")
    names = [item.text("PatientName") for item in items]
    expected = [str(item.PatientName) for item in ds.get("RequestedProcedureCodeSequence", [])]
    assert names == expected


def test_item_with_its_own_set_reaches_sr_and_oru() -> None:
    request = make_request()
    request.SpecificCharacterSet = "ISO_IR 126"
    request.RequestedProcedureDescription = "Θώραξ"
    header = as_received(make_header(SpecificCharacterSet="ISO_IR 100", RequestAttributesSequence=[request]))
    report = build_sr(make_document(header))
    assert report.ReferencedRequestSequence[0].RequestedProcedureDescription == "Θώραξ"
    assert report.SpecificCharacterSet == "ISO_IR 192"  # Latin-1 cannot hold it
    assert encode_sr(make_document(header), PACS).payload
    assert build_oru(make_document(header), RIS)


@pytest.mark.parametrize(
    ("source", "name", "text", "expected"),
    [
        (["", "ISO 2022 IR 87"], JAPANESE, "Normal.", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 87"], JAPANESE, "Größe —", "ISO_IR 192"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=春子^初", "Normal.", ["ISO 2022 IR 13", "ISO 2022 IR 87"]),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "about ~3 cm", "ISO_IR 192"),
        ("ISO_IR 100", "Müller^Zoë", "Größe", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Zoë", "— ≤", "ISO_IR 192"),
        ("ISO_IR 192", "Müller^Zoë", "Größe", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "丂 ≤", "GB18030"),
        ("ISO_IR 6", "Doe^Jane", "Normal.", None),
        (None, "Doe^Jane", "Normal.", None),
        (None, "Doe^Jane", "Größe", "ISO_IR 192"),
    ],
)
def test_the_source_set_is_kept_when_it_holds_everything(
    source: object, name: str, text: str, expected: object
) -> None:
    document = make_document(as_received(make_header(SpecificCharacterSet=source, PatientName=name)), findings=text)
    payload = encode_sr(document, PACS).payload
    assert build_sr(document).get("SpecificCharacterSet") == expected
    assert read_leniently(payload, "PatientName") == name


def _with_raw(name: bytes, character_set: bytes) -> SourceHeader:
    """A header whose bytes were never checked by anybody."""
    ds = as_received(make_header(PatientName=None))
    for tag, vr, value in ((0x00080005, "CS", character_set), (0x00100010, "PN", name)):
        ds[tag] = RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True)
    return SourceHeader.of(ds)


@pytest.mark.parametrize("character_set", [b"ISO IR 100", b"ISO-IR 100", b"iso_ir 100", b"LATIN1", b"nonsense", b""])
def test_misspelt_and_unknown_sets_lose_nothing(character_set: bytes) -> None:
    header = _with_raw("Müller^Zoë".encode("latin-1"), character_set)
    document = make_document(header.dataset)
    payload = encode_sr(document, PACS).payload
    assert read_leniently(payload, "PatientName") == "Müller^Zoë"
    assert "Müller^Zoë" in build_oru(document, RIS)


def test_bytes_outside_the_declared_set_are_kept_as_latin_1() -> None:
    header = _with_raw("Müller^Zoë".encode("latin-1"), b"ISO_IR 192")
    assert header.text("PatientName") == "Müller^Zoë"


@pytest.mark.parametrize(
    ("value", "terms"),
    [
        ("", ()),
        ("\\", ()),
        ("\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        ("ISO IR 100", ("ISO_IR 100",)),
        ("ISO_IR 192\\ISO 2022 IR 87", ("ISO_IR 192",)),
        ("ISO 2022 IR 6\\ISO_IR 192\\ISO 2022 IR 87", ("ISO 2022 IR 6", "ISO 2022 IR 87")),
        ("ISO_2022_IR_149", ("ISO 2022 IR 149",)),
    ],
)
def test_parse_terms(value: str, terms: tuple[str, ...]) -> None:
    assert parse_terms(value) == terms
    assert is_known(terms)


def test_a_lead_byte_that_looks_like_a_delimiter_is_not_one() -> None:
    """春 is 0x3D 0x55 in JIS X 0208, and 0x3D is "="."""
    terms = ("", "ISO 2022 IR 87")
    assert decode("Haruko=春子^初".encode("iso2022_jp"), terms) == "Haruko=春子^初"


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_utf_8_holds_everything(text: str) -> None:
    assert holds(UTF_8, text, is_name=False)
    assert decode(text.encode(), UTF_8) == text


@pytest.mark.parametrize(
    ("terms", "text", "held"),
    [
        ((), "ü", False),
        (("ISO_IR 6",), "ü", False),
        (("ISO_IR 100",), "ü", True),
        (("ISO_IR 100",), "≤", False),
        (("ISO_IR 13",), "ﾔﾏ", True),
        (("ISO_IR 13",), "山", False),
        (("ISO_IR 13",), "a\\b", False),
        (("", "ISO 2022 IR 149"), "김희중", True),
        (("", "ISO 2022 IR 87"), "ü", False),
        (("ISO 2022 IR 6", "ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 58"), "Aや", False),
    ],
)
def test_holds(terms: tuple[str, ...], text: str, held: bool) -> None:
    assert holds(terms, text, is_name=False) is held
