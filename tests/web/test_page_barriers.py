"""What would keep somebody out of a page who does not see, does not use a mouse, or sees it larger or in other colours.

Contrast and what is cut off at 200 % are looked for by `look`, on every page.
"""

import re
from datetime import timedelta

from agreements import compared
from browsers import NARROW, NARROWEST, log_in, tab
from doubles import NOON
from page_browser import logged_in
from page_routes import PAGES, address
from playwright.sync_api import Browser, Locator, Response, expect
from rows import add_delivery, add_job, add_report, add_study, receive

from dicom_node.access.users import admit, disable_user
from dicom_node.lifecycle import note
from dicom_node.models import Access, Report, Study
from dicom_node.receive.intake import Receiver
from dicom_node.states import DeliveryState, JobState, StudyState

# What a screen reader, or somebody who says what to click, stumbles over.
_BARRIERS = """() => {
  const found = [], complain = (each, words) => found.push(`${words}: ${each.outerHTML.slice(0, 90)}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const words = (text) => text.replace(/\\s+/g, " ").trim().toLowerCase();
  if (all("h1").length !== 1) found.push(`${all("h1").length} headings of the page`);
  for (const each of all("th")) if (!words(each.textContent)) complain(each, "heads nothing");
  for (const each of all("input:not([type=hidden]), select"))
    if (!each.labels.length && !each.ariaLabel) complain(each, "has no label");
  for (const each of all("[aria-label]")) {
    if (["A", "BUTTON", "SUMMARY"].includes(each.tagName) && !words(each.ariaLabel).includes(words(each.textContent)))
      complain(each, "is not called what it says");
    if (["PRE", "DIV", "P", "SPAN"].includes(each.tagName) && !each.role) complain(each, "has a name and no role");
  }
  for (const each of all("pre[tabindex]")) if (!each.ariaLabel) complain(each, "takes the focus and has no name");
  const ids = all("[id]").map((each) => each.id);
  for (const each of ids.filter((id, at) => ids.indexOf(id) !== at)) found.push(`two have the id ${each}`);
  return found;
}"""
_COUNT_NEWS = """() => {
  window.heard = 0;
  const seen = new MutationObserver(() => { window.heard += 1; });
  seen.observe(document.querySelector("[role=status]"), { childList: true, characterData: true, subtree: true });
}"""


def _is_renewed(answer: Response) -> bool:
    return "change=" in answer.url and answer.status == 200


_SHOWN_MS = 500  # of an answer that has come


def _style(place: Locator, name: str, of: str = "") -> str:
    return str(place.evaluate("(each, [name, of]) => getComputedStyle(each, of)[name]", [name, of]))


def test_every_page_can_be_heard_and_told_what_to_click(busy_page: int, node: Receiver, chromium: Browser) -> None:
    with node.sessions.begin() as session:
        disable_user(session, admit(session, "its anna", "anna", Access.OPERATOR, NOON), NOON)
    paths = [*(address(route) for route in PAGES if not route.endswith(".png")), "/rules?study=1", "/login"]
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "admin") as page:
        for path in paths:
            page.goto(path)
            assert page.evaluate(_BARRIERS) == [], path


def test_a_table_keeps_its_heads_where_a_screen_is_too_narrow_to_show_them(busy_page: int, chromium: Browser) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "admin") as page:
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        for path, name in (("/", "Accession"), ("/people", "May come in"), ("/rules?study=1", "Takes it")):
            page.goto(path)
            expect(page.get_by_role("columnheader", name=name)).to_have_count(1)
        expect(page.get_by_text("no", exact=True)).to_have_attribute("data-label", "Takes it")


def test_who_hears_a_page_is_told_what_becomes_of_a_study_once_and_nothing_of_others(
    busy_page: int, node: Receiver, chromium: Browser
) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, SOPInstanceUID="1.2.3", PatientID="CANARY-OTHER")
        other = add_study(session)
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        page.goto("/studies/1")
        expect(page.get_by_text("name more than one patient")).to_be_visible()
        expect(page.locator("#live [role=alert]")).to_have_count(0)  # they would be read out at each renewal
        page.evaluate(_COUNT_NEWS)
        with page.expect_response(_is_renewed), node.sessions.begin() as session:
            note(session, session.get_one(Study, other.id), NOON, "something")
        expect(page.get_by_role("status")).to_have_text("")
        with node.sessions.begin() as session:
            add_job(session, session.get_one(Study, 1), state=JobState.QUEUED, revision=2)
        expect(page.get_by_role("status")).to_contain_text("queued: waits for a worker")
        with page.expect_response(_is_renewed), node.sessions.begin() as session:
            note(session, session.get_one(Study, other.id), NOON, "something else")
        assert page.evaluate("heard") == 1


def test_who_hears_a_page_is_told_that_a_study_has_failed(busy_page: int, node: Receiver, chromium: Browser) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        for number, (path, words) in enumerate((("/", "failed: {}"), ("/destinations", "RIS ris: {} failed")), 1):
            page.goto(path)
            expect(page.get_by_role("status")).to_have_text("")
            with node.sessions.begin() as session:
                job = add_job(session, add_study(session, state=StudyState.COMPLETE), state=JobState.FAILED)
                add_delivery(session, add_report(session, job), destination="ris", state=DeliveryState.FAILED)
            expect(page.get_by_role("status")).to_contain_text(words.format(number + 1))
        for path, words in (("/status", "Not well: .*relay: does not run"), ("/setup", "To do: PACS pacs answers, ")):
            page.goto(path)
            expect(page.locator("#live")).to_have_attribute("data-news", re.compile(words))


def test_what_is_marked_on_a_page_stays_marked_while_other_studies_change(
    busy_page: int, node: Receiver, chromium: Browser
) -> None:
    with node.sessions.begin() as session:
        other = add_study(session)
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        page.goto("/studies/1")
        page.evaluate("getSelection().selectAllChildren(document.querySelector('.facts'))")
        with page.expect_response(_is_renewed), node.sessions.begin() as session:
            note(session, session.get_one(Study, other.id), NOON, "something")
        with page.expect_response(lambda answer: "change=" in answer.url and answer.status == 204):
            pass  # it knows of that change
        assert "CANARY-ID" in page.evaluate("getSelection().toString()")
        with node.sessions.begin() as session:
            note(session, session.get_one(Study, 1), NOON, "something else")
        expect(page.locator(".timeline")).to_contain_text("something else")


def test_who_presses_slowly_gets_where_the_press_began(busy_page: int, node: Receiver, chromium: Browser) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        page.goto("/")
        page.locator("#study-1").hover()
        page.mouse.down()
        with page.expect_response(_is_renewed), node.sessions.begin() as session:
            add_study(session, last_received_at=NOON + timedelta(hours=1))  # it will stand where the pointer is
        page.wait_for_timeout(_SHOWN_MS)
        page.mouse.up()
        page.wait_for_url("**/studies/1")
        page.go_back()
        expect(page.locator("tbody tr")).to_have_count(2)


def test_what_may_be_old_is_said_wherever_one_reads_and_can_still_be_read(busy_page: int, chromium: Browser) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "viewer") as page:
        page.set_viewport_size(NARROWEST)  # type: ignore[arg-type]
        page.goto("/studies/1")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.context.set_offline(True)
        expect(page.get_by_text("What you see may be old")).to_be_in_viewport(ratio=1)
        expect(page.locator("main")).to_have_css("opacity", "1")  # fainter, and small words could not be read
        page.context.set_offline(False)
        page.goto("/login")


def test_without_scripts_a_page_says_that_it_does_not_renew_itself(busy_page: int, chromium: Browser) -> None:
    context = chromium.new_context(base_url=f"http://127.0.0.1:{busy_page}", java_script_enabled=False)
    page = context.new_page()
    log_in(page, "operator")
    for path in ("/", "/studies/1", "/destinations", "/status", "/setup"):
        page.goto(path)
        expect(page.locator("noscript p")).to_be_visible()
    page.goto("/studies/1")
    page.get_by_role("button", name="Seen, leave it").click()
    expect(page.locator(".verbs .chip")).to_have_text("seen")
    context.close()


def test_in_the_colours_of_the_reader_nothing_is_said_by_ours_alone(
    busy_page: int, node: Receiver, chromium: Browser
) -> None:
    with node.sessions.begin() as session:
        compared(session, session.get_one(Report, 1), {"Nodule": ("present", "", "absent", "")})
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        page.emulate_media(forced_colors="active")
        page.goto("/")
        for place in (".pages-of-node", ".filters"):
            lines = [_style(each, "textDecorationLine") for each in page.locator(f"{place} a").all()]
            assert (lines[0], {*lines[1:]}) == ("underline", {"none"}), place
        page.goto("/studies/1")
        assert _style(page.locator(".banner b").first, "borderTopStyle") == "solid"
        page.goto("/agreement")
        swatches = {_style(each, "backgroundColor", "::before") for each in page.locator(".outcomes span").all()}
        assert len(swatches) == 4


def test_a_study_on_paper_is_what_is_known_of_it_and_nothing_to_click(
    busy_page: int, node: Receiver, chromium: Browser
) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        page.goto("/studies/1")
        page.emulate_media(media="print", color_scheme="dark")
        for each in page.locator("nav, button, .button, .who").all():
            expect(each).to_be_hidden()
        for words in ("Preliminary, not reviewed", "CANARY-ID", "failed", "Research use only"):
            expect(page.get_by_text(words).first).to_be_visible()
        assert _style(page.locator("body"), "backgroundColor") == "rgb(255, 255, 255)"
        assert _style(page.locator(".banner b").first, "borderTopStyle") == "solid"
        assert _style(page.locator("mark").first, "printColorAdjust") == "exact"


def test_who_is_refused_is_told_under_a_heading(busy_page: int) -> None:
    assert logged_in(busy_page).get("/studies/99").text.count("<h1>") == 1
