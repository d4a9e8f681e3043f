"""How drafts agree with signed reports, on the page: in general, and of one study."""

from datetime import timedelta

import pytest
from agreements import Said, add_agreement, add_final, compared
from browsers import log_in, look, tab
from doubles import NOON
from drafted_study import add_drafted
from page_browser import audited_when, logged_in
from playwright.sync_api import Browser, expect
from rows import only

from dicom_node.config import Settings
from dicom_node.models import FinalReport, Report, Study
from dicom_node.patients import identifiers_to_json, patient_of
from dicom_node.receive.intake import Receiver
from dicom_node.shares import share
from dicom_node.web.courses import BOTTOM, LEFT, RIGHT, TOP, draw

EFFUSION, NODULE, HEART = "Pleural effusion", "Nodule", "Cardiomegaly"
WRONG: dict[str, Said] = {
    HEART: ("present", "", "present", ""),
    EFFUSION: ("present", "left", "present", "right"),
    NODULE: ("absent", "", "present", ""),
}
SCRIPT = "<script>alert(1)</script>"


def add_compared(node: Receiver, *, is_withdrawn: bool = False) -> None:
    """Study 1, drafted by the test model, whose sides differ from what was signed."""
    with node.sessions.begin() as session:
        add_drafted(session, node)
        report = session.get_one(Report, 1)
        report.withdrawn_at = NOON if is_withdrawn else None
        compared(session, report, WRONG, rouge_l=0.25)


def test_before_the_first_comparison_the_page_says_what_makes_one(page: int) -> None:
    shown = logged_in(page).get("/agreement")
    assert (shown.status, "No draft was compared with a signed report." in shown.text) == (200, True)
    assert "under this choice" in logged_in(page).get("/agreement?since=2026-03-01").text


def test_the_page_shows_findings_with_their_intervals_and_the_studies_furthest_apart(page: int, node: Receiver) -> None:
    add_compared(node)
    with node.sessions.begin() as session:
        add_agreement(session, {EFFUSION: ("present", "", "present", "")}, model="other")
    shown = logged_in(page).get("/agreement").text
    for words in ("SYNTHETIC TEST MODEL", "fake 1, other 1", "50 % <small>9–91 · 1</small>", "ROUGE-L, median"):
        assert words in shown
    assert '<a href="/studies/1#signed">Study 1</a>' in shown
    assert "Pleural effusion: the sides differ; Nodule: the draft denies it" in shown.replace("\n", "")
    assert "Study 2" not in shown  # both agree
    assert "CANARY" not in shown


def test_a_choice_of_day_and_model_is_kept_in_the_form(page: int, node: Receiver) -> None:
    add_compared(node)
    shown = logged_in(page).get("/agreement?since=2026-03-01&model=fake").text
    assert 'type="date" value="2026-03-01"' in shown
    assert "<option selected>fake</option>" in shown
    assert "Study 1" in shown
    assert "under this choice" in logged_in(page).get("/agreement?since=2026-03-02").text
    assert "under this choice" in logged_in(page).get(f"/agreement?model={SCRIPT}").text


def test_since_any_day_at_all_is_all(page: int, node: Receiver) -> None:
    add_compared(node)
    shown = logged_in(page).get("/agreement?since=0001-01-01&model=%00")
    assert (shown.status, "Study 1" in shown.text) == (200, True)


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", SCRIPT])
def test_what_is_no_day_is_refused(day: str, page: int) -> None:
    shown = logged_in(page).get(f"/agreement?since={day}")
    assert (shown.status, "There is no such day" in shown.text, SCRIPT in shown.text) == (404, True, False)


def test_a_studys_page_shows_the_signed_report_beside_the_draft_and_what_differs_in_words(
    page: int, node: Receiver, settings: Settings
) -> None:
    add_compared(node, is_withdrawn=True)
    shown = logged_in(page).get("/studies/1").text
    section = shown.partition('id="signed"')[2]
    for words in ("<b>Withdrawn</b>", "The lungs are clear.", "Final report of the RIS", "There is Pleural effusion."):
        assert words in section
    rows = [row.partition("</tr>")[0] for row in section.split("<tr>")[2:]]
    assert [row.partition("</th>")[0].partition(">")[2] for row in rows] == [EFFUSION, NODULE, HEART]
    for words, row in zip(("The sides differ", "The draft denies it", "Both say so"), rows, strict=False):
        assert words in row
    assert "there, left" in rows[0]
    assert "there, right" in rows[0]
    audited_when(settings, "viewer")


def test_a_study_without_a_comparison_has_no_such_section(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        add_drafted(session, node)
    assert 'id="signed"' not in logged_in(page).get("/studies/1").text


def test_a_later_report_that_is_not_compared_is_told_of(page: int, node: Receiver) -> None:
    add_compared(node)
    assert "a later report" not in logged_in(page).get("/studies/1").text
    with node.sessions.begin() as session:
        study = session.get_one(Study, 1)
        add_final(
            session, "", created_at=NOON + timedelta(hours=1), study_instance_uid=study.study_instance_uid,
            patient_identifiers=identifiers_to_json(patient_of(study)),
        )  # fmt: skip
    assert "The RIS has sent a later report" in logged_in(page).get("/studies/1").text


def test_a_script_in_a_signed_report_is_text(page: int, node: Receiver) -> None:
    add_compared(node)
    with node.sessions.begin() as session:
        final = session.merge(only(node.sessions, FinalReport))
        final.text = SCRIPT
    shown = logged_in(page).get("/studies/1").text
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown


def test_marks_stand_by_their_days_and_a_single_one_in_the_middle() -> None:

    first, second, last = (NOON.date().replace(day=day) for day in (1, 11, 31))
    course = draw("x", {first: share(0, 4), second: None, last: share(4, 4)}, scale=("0", "1"))
    assert [(mark.x, mark.y) for mark in course.marks] == [(LEFT, BOTTOM), (RIGHT, TOP)]
    assert course.scale == [(BOTTOM, "0"), (TOP, "1")]
    assert [day for _, day in course.labels] == [first, last]
    (mark,) = draw("x", {first: share(2, 4)}, scale=("0", "1")).marks
    assert (mark.x, mark.y) == ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)
    assert mark.high_y < mark.y < mark.low_y
    assert draw("x", {first: None}, scale=("0", "1")).marks == []


def test_both_pages_are_whole_on_either_screen_and_in_either_scheme(
    page: int, node: Receiver, chromium: Browser
) -> None:
    add_compared(node)
    with tab(chromium, f"http://127.0.0.1:{page}", "viewer") as browser:
        for path, name in (("/agreement", "agreement"), ("/studies/1", "signed")):
            browser.goto(path)
            look(browser, name)


def test_the_page_needs_no_script(page: int, node: Receiver, chromium: Browser) -> None:
    add_compared(node)
    context = chromium.new_context(base_url=f"http://127.0.0.1:{page}", java_script_enabled=False)
    browser = context.new_page()
    log_in(browser, "viewer")
    browser.get_by_role("link", name="Agreement").click()
    browser.get_by_label("Drafts since").fill("2026-03-01")
    browser.get_by_role("button", name="Show").click()
    browser.get_by_role("link", name="Study 1").click()
    expect(browser.get_by_role("heading", name="The draft and what was signed")).to_be_visible()
    context.close()
