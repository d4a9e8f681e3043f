"""The page of the rules: who sees it, what is in force, and which rule would take a study."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_browser import audited_when, logged_in, page_of
from rows import all_of, receive

from dicom_node.config import Settings
from dicom_node.models import Job, Transition
from dicom_node.receive.intake import Receiver

RULES = """
rules:
  - {name: children, when: {institution_name: "*children*"}, read: no}
  - {name: emergency, when: {calling_ae: MOD*}, priority: stat, destinations: []}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yml"
    path.write_text(RULES)
    return path


@pytest.fixture
def ruled(settings: Settings, node: Receiver, file: Path) -> Iterator[int]:
    """The port of the page of a node with rules."""
    with page_of(settings.model_copy(update={"rules_file": file}), node) as port:
        yield port


def test_the_rules_in_force_are_shown_in_words(ruled: int) -> None:
    shown = logged_in(ruled, "operator").get("/rules").text
    for words in ("institution name *children*", "it is not to be read", "priority stat, for no destination"):
        assert words in shown


def test_without_rules_the_page_says_so(page: int) -> None:
    browser = logged_in(page, "admin")
    assert "None are set" in browser.get("/rules").text
    assert "None are set" in browser.get("/rules?study=1").text


def test_a_viewer_does_not_see_the_rules(ruled: int) -> None:
    assert logged_in(ruled).get("/rules").status == 403


def test_a_bad_file_is_told_and_the_last_good_rules_stay(ruled: int, file: Path) -> None:
    browser = logged_in(ruled, "operator")
    browser.get("/rules")
    file.write_text("rules:\n  - {name: <b>, prio: 1}")
    shown = browser.get("/rules").text
    assert "line 2: prio is not known here" in shown
    assert "The rules below, the last good ones, stay in force." in shown
    assert "emergency" in shown


def test_without_good_rules_nothing_is_in_force_and_none_can_be_asked(
    settings: Settings, node: Receiver, file: Path
) -> None:
    file.write_text("")
    with page_of(settings.model_copy(update={"rules_file": file}), node) as port:
        browser = logged_in(port, "operator")
        assert "Nothing is drafted until it can." in browser.get("/rules").text
        assert browser.get("/rules?study=1").status == 409


def test_a_study_is_asked_about_and_nothing_is_written(ruled: int, node: Receiver, settings: Settings) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, InstitutionName="<script>North</script>")
    before = len(all_of(node.sessions, Transition))
    shown = logged_in(ruled, "operator").get("/rules?study=1").text
    assert "institution name &lt;script&gt;North&lt;/script&gt; is not like *children*" in shown
    assert "rule emergency took it: priority stat, for no destination" in shown
    assert (len(all_of(node.sessions, Transition)), all_of(node.sessions, Job)) == (before, [])
    assert "CANARY-ID" in audited_when(settings, '"110103"')


def test_a_study_that_is_not_read_at_all_is_said_to_be(ruled: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, ViewPosition="LL")
    shown = logged_in(ruled, "operator").get("/rules?study=1").text
    assert "is not read, whatever the rules say: <b>no frontal view (view LL)</b>" in shown


def test_a_study_that_cannot_be_asked_about_is_said_why(ruled: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        instance = receive(session, node.store)
    node.store.open(instance.path).unlink()
    browser = logged_in(ruled, "operator")
    gone, absent = browser.get("/rules?study=1"), browser.get("/rules?study=2")
    assert (gone.status, "The rules cannot be asked about it: the image&#39;s file is gone" in gone.text) == (422, True)
    assert absent.status == 404
