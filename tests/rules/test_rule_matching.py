"""Which rule takes a film, and what is said of it."""

from pathlib import Path

import pytest
from films import code_sequence, write_dx
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.errors import InvalidHeader
from dicom_node.rules.film import Element, Film, read_film
from dicom_node.rules.parsing import parse_rules
from dicom_node.rules.verdict import Verdict, judge

ROWS = {"modality": "DX", "body_part": "CHEST", "view_position": "PA", "calling_ae": "ER_1"}
WORDS = {
    "StationName": "ROOM 1",
    "InstitutionName": "Clinic North",
    "StudyDescription": "Chest 2 views",
    "SeriesDescription": "PA upright",
}


def film_of(path: Path, **elements: object) -> Film:
    return read_film(write_dx(path / "film.dcm", **{**WORDS, **elements}), **ROWS)


def judged(film: Film, *rules: str) -> Verdict:
    return judge(parse_rules(f"rules: [{', '.join(rules)}]", ("pacs", "ris")), film)


@pytest.mark.parametrize(
    ("when", "miss"),
    [
        ("modality: dx", ""),
        ("modality: [CR, DX]", ""),
        ("modality: CR", "modality DX is not like CR"),
        ("body_part: CH*", ""),
        ("view_position: [LL, AP]", "view position PA is not like LL or AP"),
        ("calling_ae: 'ER_?'", ""),
        ("station_name: room 1", ""),
        ("institution_name: '*south*'", "institution name Clinic North is not like *south*"),
        ("study_description: chest*", ""),
        ("series_description: '*upright'", ""),
        ("procedure_code: '*'", "procedure code is not stated"),
        ("modality: DX, calling_ae: WARD*, view_position: AP",
         "calling AE ER_1 is not like WARD*; view position PA is not like AP"),
    ],
)  # fmt: skip
def test_every_element_can_be_asked_for(when: str, miss: str, tmp_path: Path) -> None:
    verdict = judged(film_of(tmp_path), f"{{name: a, when: {{{when}}}}}")
    assert [asked.miss for asked in verdict.asked] == [miss]
    assert (verdict.rule is None) is bool(miss)


@pytest.mark.parametrize("element", list(Element))
def test_what_a_film_does_not_state_matches_nothing(element: Element, tmp_path: Path) -> None:
    silent = read_film(write_dx(tmp_path / "film.dcm"), modality="", body_part="", view_position="", calling_ae="")
    verdict = judged(silent, f"{{name: a, when: {{{element}: '*'}}}}")
    assert verdict.asked[0].miss == f"{element.spoken} is not stated"


def test_a_procedure_code_is_that_of_the_order_or_one_of_the_films_own(tmp_path: Path) -> None:
    request = Dataset()
    request.RequestedProcedureCodeSequence = code_sequence("REQ1", "99L", "Chest")
    codes = {
        "ProcedureCodeSequence": code_sequence("PROC1", "99L", "Chest"),
        "RequestedProcedureCodeSequence": code_sequence("REQ0", "99L", "Chest"),
        "RequestAttributesSequence": Sequence([request]),
    }
    film = read_film(write_dx(tmp_path / "film.dcm", **codes), **ROWS, ordered_code="ORD1")
    assert film[Element.PROCEDURE_CODE] == ("ORD1", "PROC1", "REQ0", "REQ1")
    assert judged(film, "{name: a, when: {procedure_code: 'REQ?'}}").rule


def test_words_of_any_script_are_compared(tmp_path: Path) -> None:
    film = film_of(tmp_path, SpecificCharacterSet="ISO_IR 192", InstitutionName="Klinikum Süd")
    assert judged(film, "{name: a, when: {institution_name: '*SÜD'}}").rule


def test_the_first_that_matches_takes_the_film_and_no_other_is_asked(tmp_path: Path) -> None:
    rules = ("{name: a, when: {modality: CR}}", "{name: b, when: {modality: DX}}", "{name: c, read: no}")
    verdict = judged(film_of(tmp_path), *rules)
    assert [asked.rule.name for asked in verdict.asked] == ["a", "b"]
    assert verdict.rule == verdict.asked[1].rule


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{name: a, read: no}", "rule a took it: it is not to be read"),
        ("{name: a}", "rule a took it: it is read as without rules"),
        ("{name: a, priority: stat}", "rule a took it: priority stat"),
        ("{name: a, destinations: pacs}", "rule a took it: for pacs alone"),
        ("{name: a, priority: low, destinations: []}", "rule a took it: priority low, for no destination"),
        ("{name: a, when: {modality: CR}}", "no rule took it: it is read as without rules"),
    ],
)
def test_the_timelines_words_quote_the_rules_and_never_the_film(rule: str, words: str, tmp_path: Path) -> None:
    assert judged(film_of(tmp_path, InstitutionName="CANARY^PHI"), rule).words == words


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"no DICOM")
    with pytest.raises(InvalidHeader, match="header cannot be parsed"):
        read_film(bad, **ROWS)
    with pytest.raises(FileNotFoundError):
        read_film(tmp_path / "absent.dcm", **ROWS)
