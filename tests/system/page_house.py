"""A real node with its PACS and RIS, whose page is used by a real browser."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from browsers import PASSWORD
from house import Node, is_open, require, storescu, wait_until
from playwright.sync_api import Browser, expect
from waiting import free_port

from dicom_node.access.users import add_user
from dicom_node.clock import utc_now
from dicom_node.models import Access
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis
from workers.phantom.case import Case, Finding, Kind, Side, Size
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits

FILM = Case(2, findings=(Finding(Kind.PACEMAKER, Side.RIGHT), Finding(Kind.EFFUSION, Side.LEFT, Size.MODERATE)))


@dataclass
class House:
    """A node with its PACS and RIS, and where its page is."""

    node: Node
    ris: LoopbackRis
    url: str
    folder: Path
    films: int = 0

    def send_film(self) -> int:
        """Returns the study's number."""
        self.films += 1
        names = {"accession_number": f"A{self.films:05}", "studied_at": datetime(2026, 3, 1, 9, self.films, tzinfo=UTC)}
        film = film_dataset(Case(self.films + 1, findings=FILM.findings), Habits(), **names)
        file = self.folder / f"{self.films}.dcm"
        film.save_as(file, enforce_file_format=True)
        done = storescu(self.node.port, file)
        assert done.returncode == 0, done.stderr
        return self.films

    def first_admin_code(self) -> str:
        lines = self.node.log.read_text(encoding="utf-8").splitlines()
        return next((json.loads(line)["code"] for line in lines if '"no_user_yet"' in line), "")


@pytest.fixture(scope="module")
def house(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Its first admin is made in the browser, by the code in the log; `viewer` and `operator` are there, too."""
    require("storescu")
    folder, port = tmp_path_factory.mktemp("page"), free_port()
    with LoopbackPacs(folder / "pacs") as pacs, LoopbackRis(folder / "ris") as ris, pytest.MonkeyPatch.context() as env:
        env.setenv("DICOM_NODE_HTTP_PORT", str(port))
        node = Node(folder / "node", _settings(pacs.port, ris.port))
        node.start()
        try:
            house = House(node, ris, f"http://127.0.0.1:{port}", folder)
            wait_until(house.first_admin_code, 60, "the log tells the code for the first admin")
            wait_until(lambda: is_open(port), 60, "the page answers")  # it listens after that
            make_first_admin(chromium, house)
            _make_users(node)
            yield house
        finally:
            node.stop()


def make_first_admin(chromium: Browser, house: House) -> None:
    page = chromium.new_page(base_url=house.url)
    page.goto("/")
    page.get_by_label("Code").fill(house.first_admin_code())
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password, 12 characters or more").fill(PASSWORD)
    page.get_by_label("The password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the first admin").click()
    expect(page.get_by_role("heading", name="Set-up")).to_be_visible()
    page.close()


def _make_users(node: Node) -> None:
    with node.sessions().begin() as session:
        for access in (Access.VIEWER, Access.OPERATOR):
            add_user(session, access, access, PASSWORD, utc_now())


def _settings(pacs_port: int, ris_port: int) -> str:
    peers = (
        f'[[pacs]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {pacs_port}\nrejection_notes = true\n'
        f'[[ris]]\nname = "ris"\nhost = "127.0.0.1"\nport = {ris_port}\ncancellations = true\n'
    )
    return f"idle_timeout_s = 0.5\nretry_after_s = 0.5\n{peers}"
