"""The first run: what is still missing, and a test study through the node's own port."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname

import pytest
from doubles import NOON, FrozenClock
from page_browser import audited_when, logged_in, page_of
from pydantic import BaseModel
from rows import all_of, only, receive
from sqlmodel import Session
from waiting import free_port

from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.models import Heartbeat, Instance, Study
from dicom_node.peers import DicomDestination, MllpDestination, Peer
from dicom_node.receive.intake import Receiver
from dicom_node.receive.scp import start_server
from dicom_node.web.destinations import PeerName
from dicom_node.web.peer_tests import PeerTests
from dicom_node.web.setup import Step, steps_of
from dicom_node.web.trial import own_port
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis


def well(session: Session, role: str, host: str = "", fault: str = "") -> None:
    session.add(Heartbeat(role=role, host=host or gethostname(), well_at=NOON, fault=fault))


def steps(session: Session, settings: Settings) -> list[Step]:
    return steps_of(session, settings, NOON, PeerTests(settings, FrozenClock()).last)


def test_a_bare_node_is_told_what_to_write(settings: Settings, node: Receiver) -> None:
    with node.sessions() as session:
        found = steps(session, settings)
    assert [step.is_done for step in found] == [False] * 5
    written = Settings(**tomllib.loads("\n".join(step.lines for step in found)))
    assert (written.pacs[0].name, written.ris[0].name, list(written.peers)) == ("pacs", "ris", ["CR_ROOM_1"])


def test_each_step_is_done_when_it_is_done(settings: Settings, node: Receiver, tmp_path: Path) -> None:
    with LoopbackPacs(tmp_path / "pacs") as pacs, LoopbackRis(tmp_path / "ris") as ris:
        made: dict[str, BaseModel | object] = {
            "pacs": (DicomDestination(name="main", ae_title="PACS", host="127.0.0.1", port=pacs.port),),
            "ris": (MllpDestination(name="ris", host="127.0.0.1", port=ris.port),),
            "peers": {"MODALITY": Peer(), settings.ae_title: Peer()},
        }
        settings = settings.model_copy(update=made)
        tests = PeerTests(settings, FrozenClock())
        with node.sessions.begin() as session:
            assert [step.is_done for step in steps_of(session, settings, NOON, tests.last)] == [False, False, True] + [
                False
            ] * 2
            for peer in (PeerName("pacs", "main"), PeerName("ris", "ris")):
                tests.run(peer, "anna")
            well(session, "worker")
            receive(session)
            assert all(step.is_done for step in steps_of(session, settings, NOON, tests.last))


def test_a_node_that_does_not_let_itself_in_is_told_so(settings: Settings, node: Receiver) -> None:
    with node.sessions() as session:
        found = steps(session, settings.model_copy(update={"peers": {"MODALITY": Peer()}}))
    (own,) = (step for step in found if step.title == "This node may send to itself")
    assert Settings(**tomllib.loads(own.lines)).peers == {"CXRNODE": Peer()}


def test_a_worker_says_itself_what_it_lacks(settings: Settings, node: Receiver) -> None:
    with node.sessions.begin() as session:
        well(session, "worker", fault="the model is not loaded")
        (step,) = (step for step in steps(session, settings) if step.title == "The model is loaded")
    assert (step.is_done, step.words) == (False, "The worker says: the model is not loaded.")


@pytest.mark.parametrize(
    ("host", "scp_host", "wanted"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("0.0.0.0", "", "127.0.0.1"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("127.0.0.1", "scp-1", "scp-1"),
    ],
)
def test_the_own_port_is_where_the_receiver_says_it_is(
    host: str, scp_host: str, wanted: str, settings: Settings, node: Receiver
) -> None:
    with node.sessions.begin() as session:
        well(session, "scp", scp_host)
        found = own_port(session, settings.model_copy(update={"host": host, "port": 104}), NOON)
    assert (found.host, found.port) == (wanted, 104)


def test_where_nobody_receives_there_is_no_own_port(settings: Settings, node: Receiver) -> None:
    with node.sessions.begin() as session:
        with pytest.raises(Permanent, match="the role scp, which receives, does not run"):
            own_port(session, settings, NOON)
        well(session, "scp")
        with pytest.raises(Permanent, match="port is 0"):
            own_port(session, settings, NOON)


@contextmanager
def receiving_page(settings: Settings, node: Receiver) -> Iterator[int]:
    """The port of the page of a node that receives."""
    server = start_server(settings, node)
    with node.sessions.begin() as session:
        well(session, "scp")
    try:
        with page_of(settings, node) as port:
            yield port
    finally:
        server.shutdown()


def test_a_test_study_comes_in_as_any_other_and_is_shown(settings: Settings, node: Receiver) -> None:
    pacs = DicomDestination(name="main", ae_title="PACS", host="pacs")
    settings = settings.model_copy(update={"port": free_port(), "pacs": (pacs,)})
    with receiving_page(settings, node) as port:
        browser = logged_in(port, "operator")
        asked = browser.get("/setup/test-study")
        assert "TEST PATIENT, NOT A PERSON" in asked.text
        assert "PACS main" in asked.text
        shown = browser.post("/setup/test-study", csrf=asked.csrf)
    study, instance = only(node.sessions, Study), only(node.sessions, Instance)
    assert (shown.status, f'hx-get="/studies/{study.id}?' in shown.text) == (200, True)
    assert "DICOM-NODE-TEST" in shown.text
    assert (study.patient_id, study.accession_number[:4]) == ("DICOM-NODE-TEST", "TEST")
    assert instance.calling_ae == "CXRNODE"
    assert study.study_instance_uid in audited_when(settings, 'EventActionCode="U"')


def test_a_pacs_that_is_asked_before_is_not_said_to_get_the_test_study(settings: Settings, node: Receiver) -> None:
    pacs = DicomDestination(name="main", ae_title="PACS", host="pacs", ask_before_sending=True)
    with page_of(settings.model_copy(update={"pacs": (pacs,)}), node) as port:
        asked = logged_in(port, "operator").get("/setup/test-study").text
    assert "Nothing will come to PACS main" in asked
    assert "will really hold it" not in asked
    assert "stays here" not in asked


def test_two_test_studies_are_two_studies(settings: Settings, node: Receiver, clock: FrozenClock) -> None:
    with receiving_page(settings := settings.model_copy(update={"port": free_port()}), node) as port:
        browser = logged_in(port, "operator")
        for _ in range(2):
            browser.post("/setup/test-study", csrf=browser.get("/setup").csrf)
            clock.forward(1)
    assert len(all_of(node.sessions, Study)) == 2


def test_a_node_that_does_not_take_its_test_study_is_told_why(settings: Settings, node: Receiver) -> None:
    peers = {"MODALITY": Peer()}
    with receiving_page(settings.model_copy(update={"port": free_port(), "peers": peers}), node) as port:
        browser = logged_in(port, "operator")
        shown = browser.post("/setup/test-study", csrf=browser.get("/setup").csrf)
    assert (shown.status, "It was not received: CXRNODE rejected the association" in shown.text) == (409, True)
    assert "[peers.CXRNODE]" in shown.text
    assert all_of(node.sessions, Study) == []


def test_test_studies_are_not_sent_without_end(page: int) -> None:
    browser = logged_in(page, "operator")
    csrf = browser.get("/setup").csrf
    statuses = [browser.post("/setup/test-study", csrf=csrf).status for _ in range(4)]
    assert statuses == [409] * 3 + [429]


def test_what_has_not_changed_is_left_as_it_is(page: int) -> None:
    browser = logged_in(page, "operator")
    change = browser.get("/setup").text.split("?change=")[1].split('"')[0]
    assert browser.get(f"/setup?change={change}", HX_Request="true").status == 204


@pytest.mark.parametrize("path", ["/setup", "/setup/test-study"])
def test_a_viewer_sets_nothing_up(path: str, page: int) -> None:
    browser = logged_in(page)
    assert browser.get(path).status == 403
    assert browser.post("/setup/test-study", csrf=browser.get("/").csrf).status == 403
