"""A synthetic film is drafted, its report is signed with the wrong side: command and page say that the sides differ."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import hl7.client
import pytest
from browsers import PASSWORD, look, tab
from house import Node, is_open, require, storescu, wait_until
from playwright.sync_api import Browser, expect
from waiting import free_port

from dicom_node.access.users import add_user
from dicom_node.clock import utc_now
from dicom_node.models import Access
from workers.phantom.case import Case, Finding, Kind, Side, Size
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

WAIT_S = 180.0  # only ever waited for when something is broken
FILM = Case(2, findings=(Finding(Kind.PACEMAKER, Side.RIGHT), Finding(Kind.EFFUSION, Side.LEFT, Size.MODERATE)))
EFFUSION = "Pleural effusion"


def report(patient_id: str, status: str, side: str) -> str:
    """An ORU^R01 as a RIS sends it when a radiologist has signed."""
    return (
        f"MSH|^~\\&|RIS|HOSP|CXRNODE|RAD|20260301110000||ORU^R01^ORU_R01|{status}1|P|2.5.1\r"
        f"PID|1||{patient_id}||CANARY^PHI\rOBR|1|||36643-5^XR Chest^LN||||||||||||||A1|||||||{status}\r"
        "OBX|1|TX|36643-5^XR Chest^LN|1|INDICATION: cough, left mass?~FINDINGS:~"
        f"Moderate {side} pleural effusion. A pacemaker is in place.~IMPRESSION: Effusion.||||||F\r"
    )


@pytest.fixture
def node(tmp_path: Path, backend: str) -> Iterator[Node]:
    """Its page is at `http_port`, and its RIS's messages come to `hl7_port`, of its settings."""
    require("storescu")
    with pytest.MonkeyPatch.context() as env:
        env.setenv("DICOM_NODE_HTTP_PORT", str(free_port()))
        made = Node(tmp_path / "node", f"{backend}min_free_bytes = 0\nidle_timeout_s = 0.5\nhl7_port = {free_port()}\n")
        made.start()
        try:
            yield made
        finally:
            made.stop()


def hear(node: Node, message: str) -> None:
    with hl7.client.MLLPClient("127.0.0.1", node.settings().hl7_port) as ris:
        assert b"\rMSA|AA|" in ris.send_message(message)


def outcome(node: Node) -> dict[str, int]:
    """How often each came of the effusion."""
    found = json.loads(node.command("agreement", "--json"))["findings"].get(EFFUSION, {})
    return {name: share["part"] for name, share in found.items() if isinstance(share, dict) and share["part"]}


def test_a_wrong_side_in_the_signed_report_is_shown_as_such_and_a_correction_makes_it_good(
    node: Node, tmp_path: Path, chromium: Browser
) -> None:
    film = film_dataset(FILM, Habits(), accession_number="A1", studied_at=datetime(2026, 3, 1, 9, tzinfo=UTC))
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    assert storescu(node.port, tmp_path / "film.dcm").returncode == 0
    node.wait_settled(1)
    wait_until(lambda: is_open(node.settings().hl7_port), WAIT_S, "the node takes HL7")

    hear(node, report(film.PatientID, "F", "right"))
    wait_until(lambda: outcome(node) == {"side_differs": 1}, WAIT_S, "the sides differ")
    row = next(line for line in node.command("agreement").splitlines() if EFFUSION in line)
    assert "1: 100%" in row
    with node.sessions().begin() as session:
        add_user(session, "viewer", Access.VIEWER, PASSWORD, utc_now())
    with tab(chromium, f"http://127.0.0.1:{node.settings().http_port}", "viewer") as page:
        page.goto("/agreement")
        expect(page.locator("main")).to_contain_text("SYNTHETIC TEST MODEL")
        expect(page.get_by_role("row").filter(has_text="Study 1")).to_contain_text(f"{EFFUSION}: the sides differ")
        look(page, "compared")
        page.get_by_role("link", name="Study 1").click()
        expect(page.locator("#signed")).to_contain_text("Moderate right pleural effusion.")
        expect(page.locator("#signed").get_by_role("row").filter(has_text=EFFUSION)).to_contain_text("there, left")
        look(page, "signed-study")

        hear(node, report(film.PatientID, "C", "left"))
        expect(page.locator("#signed")).to_contain_text("Corrected report of the RIS")  # the page renews itself
        expect(page.locator("#signed").get_by_role("row").filter(has_text=EFFUSION)).to_contain_text("Both say so")
    assert outcome(node) == {"agreed": 1}
