"""The page of the peers: how it goes with each, and asking one whether it answers."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
from doubles import NOON, FrozenClock
from page_browser import audited_when, logged_in, page_of
from rows import add_delivery
from waiting import free_port

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import advance, begin
from dicom_node.models import Pull
from dicom_node.peers import DicomDestination, DicomSource, MllpDestination
from dicom_node.receive.intake import Receiver
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.states import DeliveryState, PullState
from dicom_node.web import peer_tests
from dicom_node.web.destinations import PeerName, peer_states
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis

AGO = timedelta(days=8)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """With a PACS and a RIS that are there, and a source that is not."""
    with LoopbackPacs(tmp_path / "pacs") as pacs, LoopbackRis(tmp_path / "ris") as ris:
        yield settings.model_copy(
            update={
                "pacs": (DicomDestination(name="main", ae_title="PACS", host="127.0.0.1", port=pacs.port),),
                "ris": (MllpDestination(name="ris", host="127.0.0.1", port=ris.port),),
                "sources": (DicomSource(name="main", ae_title="OLD", host="127.0.0.1", port=free_port()),),
            }
        )


def test_how_it_goes_with_each_peer_is_told_from_the_rows(settings: Settings, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_delivery(session, destination="main")
        add_delivery(session, destination="main", state="failed")
        add_delivery(session, destination="main", state="failed", seen_at=NOON)
        for state, reason in ((DeliveryState.DELIVERED, "stored"), (DeliveryState.PENDING, "cannot be reached")):
            row = add_delivery(session, destination="ris", kind="oru", created_at=NOON - timedelta(hours=1))
            advance(session, row, DeliveryState.SENDING, now=NOON)
            advance(session, row, state, now=NOON + timedelta(minutes=1), reason=reason)
        pull = Pull(source="main", study_instance_uid="1.2", due_at=NOON, created_at=NOON)
        begin(session, pull, NOON, "wanted")
        for pull_state in (PullState.PULLING, PullState.FAILED):
            advance(session, pull, pull_state, now=NOON - AGO, reason="refused")
    with sessions() as session:
        main, ris, source = peer_states(session, settings, NOON)
    assert (main.peer, main.waiting, main.waiting_since, main.failed) == (PeerName("pacs", "main"), 1, NOON, 1)
    assert (main.good, main.bad) == (None, None)
    assert (ris.waiting, ris.waiting_since) == (1, NOON - timedelta(hours=1))
    assert ris.good is not None
    assert ris.bad is not None
    assert (ris.good.at, ris.bad.at, ris.bad.reason) == (NOON + timedelta(minutes=1),) * 2 + ("cannot be reached",)
    assert (source.waiting, source.failed, source.bad) == (0, 1, None)  # what is older is not looked for


@pytest.fixture
def page(settings: Settings, node: Receiver) -> Iterator[int]:
    with page_of(settings, node) as port:
        yield port


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ("pacs/main", "answers C-ECHO and takes what it will be asked"),
        ("ris/ris", "answers a test message (AA)"),
        ("source/main", "nothing listens at 127.0.0.1:"),
    ],
)
def test_an_operator_has_a_peer_asked_and_is_told_what_it_answers(
    peer: str, words: str, page: int, settings: Settings
) -> None:
    browser = logged_in(page, "operator")
    csrf = browser.get("/destinations").csrf
    started = monotonic()
    shown = browser.post(f"/destinations/{peer}/test", csrf=csrf, back="/destinations").text
    lasted = monotonic() - started
    assert words in shown
    (told,) = re.findall(r"operator, in (\d+\.\d+) s", shown)
    assert float(told) <= lasted + 0.01  # it is rounded
    assert ("To do:" in shown) == peer.startswith("source")
    trail = audited_when(settings, '"peer-tested"')
    (line,) = (each for each in trail.splitlines() if '"peer-tested"' in each)
    assert ('EventOutcomeIndicator="4"' in line) == peer.startswith("source")
    assert 'UserID="operator"' in line


def test_what_the_last_person_was_told_is_there_for_the_next(page: int) -> None:
    operator, viewer = logged_in(page, "operator"), logged_in(page)
    change = viewer.get("/destinations").text.split("?change=")[1].split('"')[0]
    assert viewer.get(f"/destinations?change={change}", HX_Request="true").status == 204
    operator.post("/destinations/pacs/main/test", csrf=operator.get("/").csrf)
    renewed = viewer.get(f"/destinations?change={change}", HX_Request="true").text
    assert "answers C-ECHO" in renewed
    assert renewed.lstrip().startswith('<section id="live"')


def test_a_peer_is_not_asked_without_end(settings: Settings, node: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_tests, "RateLimit", partial(RateLimit, timer=lambda: 0.0))
    with page_of(settings, node) as page:
        browser = logged_in(page, "operator")
        csrf = browser.get("/").csrf
        statuses = [browser.post("/destinations/ris/ris/test", csrf=csrf).status for _ in range(5)]
    assert statuses == [200] * 4 + [429]


@pytest.mark.parametrize("peer", ["pacs/other", "disk/main", "ris/main"])
def test_a_peer_that_is_not_in_the_settings_is_not_asked(peer: str, page: int) -> None:
    browser = logged_in(page, "operator")
    assert browser.post(f"/destinations/{peer}/test", csrf=browser.get("/").csrf).status == 404


def test_a_viewer_sees_the_peers_and_asks_none(page: int) -> None:
    browser = logged_in(page)
    shown = browser.get("/destinations")
    assert "PACS at 127.0.0.1:" in shown.text
    assert "Test now" not in shown.text
    assert browser.post("/destinations/pacs/main/test", csrf=shown.csrf).status == 403


def test_after_a_test_nobody_is_led_to_another_site(page: int) -> None:
    browser = logged_in(page, "operator")
    sent = browser.post("/destinations/ris/ris/test", follow=False, csrf=browser.get("/").csrf, back="//evil.example")
    assert sent.headers["location"] == "/destinations#ris-ris"


def test_a_node_without_peers_says_so(settings: Settings, node: Receiver, clock: FrozenClock) -> None:
    bare = settings.model_copy(update={"pacs": (), "ris": (), "sources": ()})
    with page_of(bare, node) as port:
        assert "No PACS, RIS or source is in the settings" in logged_in(port).get("/destinations").text
