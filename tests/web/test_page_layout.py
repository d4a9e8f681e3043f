"""How the page looks in a real browser: at 100 and at 200 %, light and dark, with words longer than it likes."""

from browsers import look, tab
from page_routes import PAGES, address
from playwright.sync_api import Browser
from sqlmodel import select

from dicom_node.models import Delivery, Report, Study, Transition
from dicom_node.receive.intake import Receiver

WORD = "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbe"  # 64 characters: all that an LO holds


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
