"""The file of rules: what is taken, and what is refused with its line and what was expected there."""

from pathlib import Path

import pytest

from dicom_node.errors import BadRules
from dicom_node.rules.film import Element
from dicom_node.rules.parsing import parse_rules
from dicom_node.rules.rule import PRIORITIES, Condition, Rule

DEPLOY = Path(__file__).parents[2] / "deploy"
DESTINATIONS = ("pacs", "ris")


def parse(text: str) -> tuple[Rule, ...]:
    return parse_rules(text, DESTINATIONS)


def test_a_rule_says_all_that_it_can() -> None:
    (rule, other) = parse(
        """
rules:
  - name: emergency
    when: {calling_ae: [ER_*, TRAUMA1], view_position: PA}
    priority: stat
    destinations: [pacs, pacs]
  - {name: no children, when: {institution_name: "*children*"}, read: no}
"""
    )
    conditions = (Condition(Element.CALLING_AE, ("ER_*", "TRAUMA1")), Condition(Element.VIEW_POSITION, ("PA",)))
    assert rule == Rule("emergency", 3, conditions, priority="stat", destinations=("pacs",))
    assert (other.line, other.is_read, other.priority, other.destinations) == (7, False, None, None)


def test_a_rule_without_conditions_takes_every_film() -> None:
    (rule,) = parse("rules: [{name: all, destinations: []}]")
    assert (rule.when, rule.is_read, rule.destinations) == ((), True, ())


def test_scalars_are_what_is_written_whatever_yaml_makes_of_them() -> None:
    (rule,) = parse("rules: [{name: 2026-01-01, when: {procedure_code: [0071, 1e3, NO, ~, 12:30]}, read: yes}]")
    assert rule.name == "2026-01-01"
    assert rule.when[0].patterns == ("0071", "1e3", "NO", "~", "12:30")


def test_a_list_that_is_named_can_be_used_again() -> None:
    first, second = parse(
        "rules: [{name: a, when: {station_name: &rooms [R1, R2]}}, {name: b, when: {modality: CR, calling_ae: *rooms}}]"
    )
    assert first.when[0].patterns == second.when[1].patterns == ("R1", "R2")


RULE = "rules:\n  - name: first\n    when: {modality: CR}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty, expected the key `rules`"),
        ("# nothing", "it is empty"),
        ("- name: a", "line 1: expected the key `rules`"),
        ("rule: []", "line 1: rule is not known here; did you mean rules? Expected rules"),
        ("rules:\n  name: a", "line 2: expected a list"),
        ("rules: []", "line 1: expected at least one rule; for none, unset rules_file"),
        ("rules:\n", "line 1: expected a list"),
        ("rules: [{read: yes}]", "line 1: a rule without a name: add `name:`"),
        ("rules:\n - first", "line 2: expected a rule: a name, and what it does"),
        (
            RULE + "    model: other",
            "line 4: model is not known here; Expected name, when, read, priority, destinations",
        ),
        (RULE + "    prio: stat", "line 4: prio is not known here; did you mean priority?"),
        (RULE + "    name: second", "line 4: `name` a second time"),
        (RULE + "    read: true", "line 4: true is not known here; Expected yes, no"),
        (RULE + "    read: [yes]", "line 4: expected a text"),
        (RULE + "    priority: urgent", "line 4: urgent is not known here; Expected stat, asap, routine, low"),
        (RULE + "    destinations: PACS", "line 4: PACS is not known here; did you mean pacs? Expected pacs, ris"),
        (RULE + "    destinations: [ris, pacs2]", "line 4: pacs2 is not known here; did you mean pacs?"),
        (RULE + "    read: no\n    priority: stat", "line 5: what is not read has no priority: remove it"),
        (RULE + "    read: no\n    destinations: []", "line 5: what is not read has no destinations"),
        ("rules: [{name: a, when: }]", "line 1: expected elements and what they are to be like"),
        ("rules: [{name: a, when: {}}]", "line 1: `when` names nothing: remove it"),
        ("rules: [{name: a, when: {View: PA}}]", "line 1: View is not known here; did you mean view_position?"),
        ("rules: [{name: a, when: {modality: []}}]", "line 1: modality has an empty list"),
        ("rules: [{name: a, when: {modality: ''}}]", "line 1: expected a text"),
        ("rules: [{name: a, when: {modality: {is: CR}}}]", "line 1: expected a list"),
        (f"rules: [{{name: {'a' * 41}}}]", "line 1: a name of 41 characters, expected 40 printable ones at most"),
        ("rules: [{name: a, when: {modality: CR}},\n{name: A}]", "line 2: rule A has the name of that in line 1"),
        ("rules:\n  - name: a\n   read: no", "line 3: this is no YAML"),
        ("rules: [{name: *unknown}]", "line 1: this is no YAML: found undefined alias"),
        ("rules: []\n---\nrules: []", "this is no YAML"),
        ("rules: \x00", "this is no YAML"),
        ("[" * 100_000, "this is no YAML"),
        ("#" * 300_000, "it has 300000 characters, expected 262144 at most"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(BadRules) as caught:
        parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{name: a}", "{name: b, when: {modality: CR}}"),
        ("{name: a, when: {modality: [CR, DX]}}", "{name: b, when: {modality: CR}, read: no}"),
        ("{name: a, when: {calling_ae: ER*}}", "{name: b, when: {calling_ae: [ER_1, er_2], modality: CR}}"),
        ("{name: a, when: {modality: '*'}}", "{name: b, when: {modality: '*'}}"),
    ],
)
def test_a_rule_that_never_gets_a_film_is_refused(first: str, second: str) -> None:
    with pytest.raises(BadRules, match=r"line 2: rule b never gets a film: rule a \(line 1\) takes all that it would"):
        parse(f"rules: [{first},\n {second}]")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{name: a, when: {modality: CR}}", "{name: b}"),
        ("{name: a, when: {modality: CR}}", "{name: b, when: {modality: [CR, DX]}}"),
        ("{name: a, when: {modality: CR, view_position: PA}}", "{name: b, when: {modality: CR}}"),
        ("{name: a, when: {modality: '*'}}", "{name: b, when: {view_position: PA}}"),  # of a film without modality
        ("{name: a, when: {calling_ae: 'ER?'}}", "{name: b, when: {calling_ae: ER*}}"),
    ],
)
def test_a_rule_that_may_get_a_film_is_taken(first: str, second: str) -> None:
    assert len(parse(f"rules: [{first}, {second}]")) == 2


def test_without_destinations_in_the_settings_no_rule_can_name_one() -> None:
    with pytest.raises(BadRules, match="Expected none: the settings name no destination"):
        parse_rules("rules: [{name: a, destinations: pacs}]", ())


def test_the_example_is_good_and_the_document_says_what_there_is() -> None:
    rules = parse((DEPLOY / "rules.yml").read_text(encoding="utf-8"))
    assert [rule.is_read for rule in rules] == [False, True, True, True, True]
    document = (DEPLOY / "rules.md").read_text(encoding="utf-8")
    assert [each for each in (*Element, *PRIORITIES) if f"`{each}`" not in document] == []
    example = document.split("```yaml\n")[1].partition("```")[0]
    assert [rule.name for rule in parse(example)] == ["children", "emergency"]
