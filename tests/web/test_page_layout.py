"""How the page looks in a real browser: at 100 to 400 %, light and dark, with words longer than it likes."""

import re

from browsers import look, tab
from doubles import NOON
from page_routes import PAGES, address
from playwright.sync_api import Browser, expect
from sqlmodel import select

from dicom_node.access.users import admit, disable_user, find_user
from dicom_node.models import Access, Delivery, Report, Study, Transition
from dicom_node.receive.intake import Receiver

WORD = "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbe"  # 64 characters: all that an LO holds
LONG_NAME = "maximiliane.oberstudienratswitwe@radiologie.example"
# Letters, words and lines as far apart as a reader may set them (WCAG 2.2, 1.4.12).
WIDER = """() => {
  const sheet = new CSSStyleSheet();
  const set = { "line-height": "1.5", "letter-spacing": ".12em", "word-spacing": ".16em" };
  sheet.replaceSync(`* {${Object.entries(set).map(([name, value]) => `${name}: ${value} !important`).join("; ")}}`);
  document.adoptedStyleSheets = [sheet];
}"""
PHONE, LEAST_PX = {"width": 390, "height": 844}, 10


def stretch(node: Receiver) -> None:
    """Make of the study one whose words are long and cannot be broken."""
    with node.sessions.begin() as session:
        study = session.get_one(Study, 1)
        study.patient_name = study.patient_id = study.accession_number = WORD
        report = session.get_one(Report, 1)
        report.findings, report.indication, report.model_name = f"{WORD} {WORD}", WORD, WORD
        rows = [*session.exec(select(Delivery)), *session.exec(select(Transition))]
        for row in rows:
            row.reason = WORD * 3
        session.add_all([study, report, *rows])


def test_nothing_is_cut_off_or_too_faint_on_any_page(busy_page: int, node: Receiver, chromium: Browser) -> None:
    stretch(node)
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "admin") as page:
        for path in (address(route) for route in (*PAGES, "/login") if not route.endswith(".png")):
            page.goto(path)
            look(page, path.replace("/", "-").strip("-") or "worklist")


def test_nothing_is_cut_off_for_who_reads_words_set_wider(busy_page: int, node: Receiver, chromium: Browser) -> None:
    with node.sessions.begin() as session:
        disable_user(session, admit(session, "its anna", f"anna.{LONG_NAME}", Access.VIEWER, NOON), NOON)
        find_user(session, "admin").name = LONG_NAME
    with tab(chromium, f"http://127.0.0.1:{busy_page}", LONG_NAME) as page:
        for path in ("/", "/studies/1", "/people"):
            page.goto(path)
            page.evaluate(WIDER)
            look(page, f"wider{path.replace('/', '-')}")


def test_what_is_marked_in_a_withdrawn_draft_can_be_read(busy_page: int, node: Receiver, chromium: Browser) -> None:
    with node.sessions.begin() as session:
        session.get_one(Report, 1).withdrawn_at = NOON
    with tab(chromium, f"http://127.0.0.1:{busy_page}") as page:
        page.goto("/studies/1")
        expect(page.locator(".withdrawn mark")).to_be_visible()
        look(page, "withdrawn-draft")


def test_charts_and_their_numbers_can_be_read_on_a_phone(busy_page: int, chromium: Browser) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "admin") as page:
        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        page.goto("/status")
        boxes = [text.bounding_box() for text in page.locator(".charts text").all()]
        assert boxes
        for box in boxes:
            assert box is not None
            assert box["height"] >= LEAST_PX
            assert box["x"] + box["width"] <= PHONE["width"]
        page.get_by_text("The same as a table").click()
        expect(page.locator("td").first).to_have_attribute("data-label", "Received")
        page.goto("/")
        expect(page.locator("td.number").first).to_have_attribute("data-label", "Objects")


def test_a_study_says_its_number_to_who_asks_for_a_rule(busy_page: int, chromium: Browser) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "admin") as page:
        page.goto("/studies/1")
        expect(page.locator(".facts")).to_contain_text(re.compile(r"Number here\s*1"))
