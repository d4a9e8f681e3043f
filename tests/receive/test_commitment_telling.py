"""Storage commitment over real sockets: the result arrives, whatever becomes of association, peer and process."""

import json
import threading
from collections.abc import Iterator

import pytest
from commitment_node import NEVER_CAME, Node, knowing, running, store_film
from doubles import NOON
from modality import Modality, ask, committed, request
from pynetdicom import evt
from pynetdicom.association import Association
from rows import only
from sqlalchemy import Engine
from test_kill_scp import Scp
from test_scp import DX
from waiting import LONG_S, free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Commitment
from dicom_node.orphans import take_over
from dicom_node.receive import event_report
from dicom_node.receive.commitment import STORAGE_COMMITMENT
from dicom_node.receive.commitment_report import Reporter, report_due
from dicom_node.receive.normalized import SUCCESS
from dicom_node.receive.scp import VERIFICATION
from dicom_node.states import CommitmentState


@pytest.fixture
def node(settings: Settings, engine: Engine) -> Iterator[Node]:
    with running(settings, engine) as node:
        yield node


@pytest.fixture
def sqlite_node(settings: Settings, sqlite_engine: Engine) -> Iterator[Node]:
    with running(settings, sqlite_engine) as node:
        yield node


@pytest.fixture
def modality() -> Modality:
    return Modality()


# The way to who asked


@pytest.mark.parametrize("receive_path", ["fast", "plain"])
def test_an_association_is_served_while_results_are_told_on_it(
    receive_path: str,
    settings: Settings,
    sqlite_engine: Engine,
    modality: Modality,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # pynetdicom's own client breaks off when a report crosses its request; on a busy machine it is slow to ask.
    monkeypatch.setattr(event_report, "SILENCE_S", 2.0)
    monkeypatch.setattr(event_report, "_LONGEST_WAIT_FOR_SILENCE_S", 3 * LONG_S)
    stop = threading.Event()

    def keep_telling() -> None:
        while not stop.is_set():
            if not node.tell():
                stop.wait(0.01)

    with running(settings.model_copy(update={"receive_path": receive_path}), sqlite_engine) as node:
        teller = threading.Thread(target=keep_telling)
        teller.start()
        with modality.associated(node.port, DX, STORAGE_COMMITMENT, VERIFICATION) as assoc:
            for number in range(8):
                film = store_film(_at_work(assoc), number)
                assert ask(_at_work(assoc), request([film], f"1.2.{number}")) == SUCCESS
                assert _at_work(assoc).send_c_echo().Status == SUCCESS
            results = modality.wait_for(8, timeout_s=3 * LONG_S)
            assert _at_work(assoc).send_c_echo().Status == SUCCESS
        stop.set()
        teller.join(LONG_S)
    assert {result.TransactionUID for _, result in results} == {f"1.2.{number}" for number in range(8)}
    assert {event_type for event_type, _ in results} == {1}


def _at_work(assoc: Association) -> Association:
    """The client, when its own thread goes on again: before that, it would take the next answer for a request."""
    wait_until(lambda: not assoc._is_paused, "the client's thread goes on")
    return assoc


def test_without_a_way_to_who_asked_the_row_says_so_until_it_asks_again(
    node: Node, modality: Modality, caplog: pytest.LogCaptureFixture
) -> None:
    modality.ask(node.port, NEVER_CAME)
    assert node.tell()
    row = node.row()
    assert row.state == "failed"
    assert row.reason.startswith("the association of the request has ended, and the settings name no address")
    assert "commitment_not_told" in caplog.text
    assert not node.tell()
    with modality.associated(node.port) as assoc:
        ask(assoc, request([NEVER_CAME]))
        assert node.tell()
    assert ([event_type for event_type, _ in modality.results], node.row().state) == ([2], "delivered")


def test_who_has_its_result_and_asks_again_is_told_what_is_true_now(node: Node, modality: Modality) -> None:
    (film,) = node.holds(modality, 1)
    with modality.associated(node.port) as assoc:
        assert ask(assoc, request([film])) == SUCCESS
        assert node.tell()
        node.file(film).unlink()
        assert ask(assoc, request([film])) == SUCCESS
        assert node.tell()
    assert [event_type for event_type, _ in modality.results] == [1, 2]
    assert node.row().state == "delivered"


def test_a_peer_that_is_away_is_told_later(settings: Settings, engine: Engine, modality: Modality) -> None:
    with running(knowing(settings, free_port()), engine) as node:
        modality.ask(node.port, NEVER_CAME)
        assert node.tell()
        row = node.row()
        assert (row.state, row.attempts, (row.due_at - NOON).total_seconds()) == ("pending", 1, settings.retry_after_s)
        assert "MODALITY cannot be reached" in row.reason
        assert not node.tell()
        with modality.listening() as port:
            node.clock.forward(settings.retry_after_s)
            later = Reporter(knowing(settings, port), node.receiver, node.reporter.server)
            assert report_due(later)
    assert ([event_type for event_type, _ in modality.results], node.row().state) == ([2], "delivered")


def test_a_peer_that_stays_away_is_given_up(settings: Settings, sqlite_engine: Engine, modality: Modality) -> None:
    once = knowing(settings, free_port()).model_copy(update={"max_delivery_attempts": 1})
    with running(once, sqlite_engine) as node:
        modality.ask(node.port, NEVER_CAME)
        assert node.tell()
    row = node.row()
    assert row.state == "failed"
    assert row.reason.endswith("gave up after 1 attempts")


@pytest.mark.parametrize(
    ("status", "state"),
    [(0x0107, "delivered"), (0x0110, "pending"), (0x0213, "pending"), (0x0112, "failed"), (0x0115, "failed")],
)
def test_the_answer_to_a_result_decides_what_becomes_of_it(
    status: int, state: str, settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    modality.status = status
    with modality.listening() as port, running(knowing(settings, port), sqlite_engine) as node:
        modality.ask(node.port, NEVER_CAME)
        assert node.tell()
    row = node.row()
    assert row.state == state
    assert state == "delivered" or f"status {status:04X}" in row.reason


def test_a_peer_that_breaks_off_instead_of_answering_is_told_later(
    settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    modality.before = lambda event: event.assoc.abort()
    with modality.listening() as port, running(knowing(settings, port), sqlite_engine) as node:
        modality.ask(node.port, NEVER_CAME)
        assert node.tell()
    row = node.row()
    assert (row.state, row.reason.split(";")[0]) == ("pending", "no answer to the report before the association ended")


def test_who_hangs_up_at_the_result_is_told_on_a_new_association(
    settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    """Many a peer expects results on another association than the one that it asks on."""
    waiting = Modality()
    waiting.before = lambda event: event.assoc.abort()
    with (
        modality.listening() as port,
        running(knowing(settings, port), sqlite_engine) as node,
        waiting.associated(node.port) as assoc,
    ):
        ask(assoc, request([NEVER_CAME]))
        assert node.tell()
    assert ([event_type for event_type, _ in modality.results], node.row().state) == ([2], "delivered")


def test_a_peer_that_takes_no_results_fails_in_words(
    settings: Settings, sqlite_engine: Engine, modality: Modality
) -> None:
    with modality.listening(VERIFICATION) as port, running(knowing(settings, port), sqlite_engine) as node:
        modality.ask(node.port, NEVER_CAME)
        assert node.tell()
    row = node.row()
    assert (row.state, row.reason) == ("failed", "MODALITY accepts no storage commitment on an association of ours")


def test_a_peer_that_hangs_holds_up_its_own_requests_only(settings: Settings, engine: Engine) -> None:
    slow, quick = Modality(), Modality("OTHER")
    is_told, go_on = threading.Event(), threading.Event()

    def hang(_: evt.Event) -> None:
        is_told.set()
        go_on.wait(LONG_S)

    slow.before = hang
    with running(settings, engine) as node, slow.associated(node.port) as first, quick.associated(node.port) as second:
        ask(first, request([NEVER_CAME], "1.2.1"))
        ask(first, request([NEVER_CAME], "1.2.2"))
        hanging = threading.Thread(target=node.tell)
        hanging.start()
        assert is_told.wait(LONG_S)
        ask(second, request([NEVER_CAME], "1.2.3"))
        assert node.tell()
        assert [result.TransactionUID for _, result in quick.results] == ["1.2.3"]
        assert not node.tell()
        go_on.set()
        hanging.join(LONG_S)
        assert node.tell()
    assert [result.TransactionUID for _, result in slow.results] == ["1.2.1", "1.2.2"]


def test_claims_at_the_same_time_are_of_different_senders(settings: Settings, engine: Engine) -> None:
    modality, go_on, told = Modality(), threading.Event(), []
    modality.before = lambda _: go_on.wait(LONG_S)
    with running(settings, engine) as node, modality.associated(node.port) as assoc:
        for number in range(4):
            ask(assoc, request([NEVER_CAME], f"1.2.{number}"))
        tellers = [threading.Thread(target=lambda: told.append(node.tell())) for _ in range(4)]
        for teller in tellers:
            teller.start()
        wait_until(lambda: told == [False] * 3, "all but one find nothing to tell")
        go_on.set()
        for teller in tellers:
            teller.join(LONG_S)
    assert (told[-1], len(modality.results)) == (True, 1)


# Restarts


def test_a_request_outlives_the_process_that_took_it(settings: Settings, engine: Engine, modality: Modality) -> None:
    with modality.listening() as port:
        with running(knowing(settings, port), engine) as node:
            (film,) = node.holds(modality, 1)
            modality.ask(node.port, film)
        with running(knowing(settings, port), engine) as later:
            assert later.tell()
    assert committed(modality.results[0][1]) == {film}


def test_a_request_whose_process_died_is_taken_back_at_the_next_start(
    settings: Settings, engine: Engine, modality: Modality
) -> None:
    with modality.listening() as port, running(knowing(settings, port), engine) as node:
        modality.ask(node.port, NEVER_CAME)
        with node.receiver.sessions.begin() as session:
            row = session.merge(node.row())
            row.state, row.attempts, row.lease_until = CommitmentState.SENDING, 1, NOON.replace(year=2100)
        assert not node.tell()
        lock = take_over(engine, node.receiver.sessions, settings, NOON, Commitment)
        assert node.tell()
        lock.close()
    assert ([event_type for event_type, _ in modality.results], node.row().attempts) == ([2], 2)


@pytest.mark.kill
def test_a_result_that_is_being_told_outlives_kill_9(
    settings: Settings, sqlite_engine: Engine, modality: Modality, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = Sessions(sqlite_engine)
    with modality.listening() as port:
        peers = {"MODALITY": {"listens_at": {"host": "127.0.0.1", "port": port}}}
        monkeypatch.setenv("DICOM_NODE_PEERS", json.dumps(peers))
        scp = Scp(settings)
        modality.before = lambda _: scp.kill()
        scp.start()
        assert modality.ask(scp.port, NEVER_CAME) == SUCCESS
        modality.wait_for(1)
        assert only(sessions, Commitment).state == "sending"
        modality.before = lambda _: None
        scp.start()
        wait_until(lambda: only(sessions, Commitment).state == "delivered", "the result is told", timeout_s=60)
        scp.kill()
    assert ([event_type for event_type, _ in modality.results], only(sessions, Commitment).attempts) == ([2, 2], 2)


def test_a_stop_puts_back_what_is_under_way(sqlite_node: Node, modality: Modality) -> None:
    sqlite_node.reporter.stop.set()
    modality.ask(sqlite_node.port, NEVER_CAME)
    assert sqlite_node.tell()
    assert (sqlite_node.row().state, modality.results) == ("pending", [])
