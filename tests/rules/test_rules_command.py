"""`dicom-node rules`, and the doctor's look at the file."""

import json
from pathlib import Path

import pytest
from films import write_dx
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Verdict
from dicom_node.errors import BadRules, InvalidHeader, Permanent
from dicom_node.rules.doctor import check_rules
from dicom_node.setting_sources import CONFIG_FILE_VARIABLE

RULES = """
rules:
  - {name: children, when: {institution_name: "*children*"}, read: no}
  - {name: emergency, when: {calling_ae: ER_*, view_position: [PA, AP]}, priority: stat, destinations: pacs}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a node's settings, where it looks for its rules."""
    toml = tmp_path / "dicom-node.toml"
    pacs = '[[pacs]]\nname = "pacs"\nae_title = "PACS"\nhost = "pacs.example"\n'
    toml.write_text(f'rules_file = "{tmp_path / "rules.yml"}"\n{pacs}')
    (tmp_path / "rules.yml").write_text(RULES)
    monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(toml))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["rules", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.mark.usefixtures("site")
def test_a_good_file_is_told_in_words() -> None:
    assert "emergency" in said("check")
    children, emergency = json.loads(said("check", "--json"))  # a table breaks its lines where the terminal is narrow
    assert children["takes"] == "institution name *children*"
    assert "it is not to be read" in children["and_then"]
    assert emergency["takes"] == "calling AE ER_*, view position PA or AP"
    assert "priority stat, for pacs alone" in emergency["and_then"]


def test_another_file_is_tried_before_it_takes_the_place_of_the_first(site: Path) -> None:
    new = site / "new.yml"
    new.write_text("rules:\n  - name: all\n    destinations: ris\n")
    with pytest.raises(BadRules, match=r"new\.yml, line 3: ris is not known here"):
        said("check", str(new))
    new.write_text("rules: [{name: all}]")
    assert "every film" in said("check", str(new))


def test_a_film_is_tried_and_each_rule_says_why(site: Path) -> None:
    film = write_dx(site / "film.dcm", InstitutionName="Clinic North")
    assert said("test", str(film), "--calling-ae", "er_7").splitlines() == [
        "children: no, institution name Clinic North is not like *children*",
        "emergency: yes, calling AE ER_*, view position PA or AP",
        "So rule emergency took it: priority stat, for pacs alone.",
    ]
    assert said("test", str(film)).splitlines()[1:] == [
        "emergency: no, calling AE is not stated",
        "So no rule took it: it is read as without rules.",
    ]


def test_scripts_are_told_the_same_in_json(site: Path) -> None:
    film = write_dx(site / "film.dcm", InstitutionName="Clinic North")
    found = json.loads(said("test", str(film), "--calling-ae", "er_7", "--json"))
    assert [each["rule"] for each in found["asked"]] == ["children", "emergency"]
    assert (found["refusal"], found["rule"]) == ("", "emergency")
    assert [bool(each["why_not"]) for each in found["asked"]] == [True, False]
    lateral = write_dx(site / "film.dcm", ViewPosition="LL")
    assert json.loads(said("test", str(lateral), "--json"))["refusal"] == "no frontal view (view LL)"
    assert [each["rule"] for each in json.loads(said("check", "--json"))] == ["children", "emergency"]


def test_a_film_that_the_node_refuses_is_said_to_be_refused(site: Path) -> None:
    film = write_dx(site / "film.dcm", ViewPosition="LL")
    assert said("test", str(film)) == "It is not read, whatever the rules say: no frontal view (view LL).\n"


def test_a_film_that_is_stored_mirrored_is_said_to_be_refused(site: Path) -> None:
    film = write_dx(site / "film.dcm", PatientOrientation=["R", "F"])
    assert said("test", str(film)).startswith("It is not read, whatever the rules say: stored mirrored or turned")


def test_what_the_site_vouches_for_counts(site: Path) -> None:
    toml = site / "dicom-node.toml"
    toml.write_text(f"{toml.read_text()}[peers.ER_7]\nassume_frontal = true\n")
    film = write_dx(site / "film.dcm", ViewPosition=None)
    assert "view position is not stated" in said("test", str(film), "--calling-ae", "ER_7")
    assert "view not stated" in said("test", str(film), "--calling-ae", "ER_8")


def test_what_is_no_film_is_refused(site: Path) -> None:
    with pytest.raises(Permanent, match=r"absent\.dcm cannot be read: No such file"):
        said("test", str(site / "absent.dcm"))
    with pytest.raises(InvalidHeader):
        said("test", str(site / "rules.yml"))


def test_without_a_file_there_is_nothing_to_try(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRules, match="rules_file is not set, and no file was named"):
        said("check")


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        (RULES, Verdict.OK, "2 in "),
        ("rules: [{name: a, prio: 1}]", Verdict.FAULT, "line 1: prio is not known here"),
        (None, Verdict.FAULT, "cannot be read: No such file or directory"),
    ],
)
def test_the_doctor_looks_at_the_file(text: str | None, verdict: Verdict, words: str, site: Path) -> None:
    if text is None:
        (site / "rules.yml").unlink()
    else:
        (site / "rules.yml").write_text(text)
    (found,) = check_rules(Settings())
    assert (found.what, found.verdict) == ("rules", verdict)
    assert words in found.words
    assert bool(found.fix) is (verdict == Verdict.FAULT)


def test_the_doctor_is_content_without_rules(settings: Settings) -> None:
    (found,) = check_rules(settings)
    assert found.verdict == Verdict.OK
