"""Limits are those of the node, and each result is told by the process that has the association."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from socketserver import TCPServer

import pytest
from commitment_node import store_film
from doubles import FrozenClock
from modality import Modality, ask, request
from raw_peer import ACCEPTED, DX, REJECTED, RawPeer
from rows import only
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Commitment
from dicom_node.receive.commitment import STORAGE_COMMITMENT
from dicom_node.receive.commitment_report import Reporter, report_due
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import Listener
from dicom_node.receive.places import Place, Places
from dicom_node.receive.port import open_port
from dicom_node.receive.scp import start_server
from dicom_node.states import CommitmentState
from dicom_node.storage import InstanceStore

ONE, TWO = Place("CT1", "10.0.0.1:5000"), Place("CT2", "10.0.0.2:5000")


@pytest.fixture
def places() -> Iterator[Places]:
    known = Places()
    yield known
    known.close()


def test_each_process_hears_what_the_others_have_last_said(places: Places) -> None:
    assert places.exchange(0, lambda: [ONE, TWO]) == ([ONE, TWO], [])
    assert places.exchange(1, lambda: [TWO]) == ([TWO], [ONE, TWO])
    assert places.exchange(0, list) == ([], [TWO])
    assert places.exchange(2, list) == ([], [TWO])
    assert places.exchange(1, list) == ([], [])


def test_nothing_said_is_lost_however_many_speak(places: Places) -> None:
    """Threads are kept apart by a lock of their own: that of the file is the process's."""

    def say(process: int) -> None:
        for number in range(200):
            own = [Place(f"AE{process}", str(number))] * (number % 5 + 1)
            places.exchange(process, lambda: own)  # noqa: B023  called at once

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(8)))
    _, others = places.exchange(9, list)
    assert sorted(others) == sorted([Place(f"AE{process}", "199") for process in range(8)] * 5)


def test_who_dies_frees_the_lock(places: Places) -> None:
    pid = os.fork()
    if not pid:
        with places._alone():
            os._exit(0)
    os.waitpid(pid, 0)
    assert places.exchange(0, lambda: [ONE]) == ([ONE], [])


@dataclass
class Pair:
    """Two servers on one port, as two processes have them."""

    settings: Settings
    sessions: Sessions
    servers: tuple[Listener, Listener]
    receivers: tuple[Receiver, Receiver]
    port: int

    def tell(self, number: int) -> bool:
        return report_due(Reporter(self.settings, self.receivers[number], self.servers[number]))


@pytest.fixture
def pair(settings: Settings, sessions: Sessions) -> Iterator[Pair]:
    settings = settings.model_copy(update={"max_associations": 6, "max_associations_per_peer": 4})
    port = open_port(settings)
    stores = [InstanceStore(settings.instances_dir) for _ in range(2)]
    one, two = (Receiver(store, sessions, FrozenClock()) for store in stores)
    servers = start_server(settings, one, port), start_server(settings, two, port.of(1))
    yield Pair(settings, sessions, servers, (one, two), port.listening.getsockname()[1])
    for server in servers:  # both, before one closes what they share here; two processes have each their own
        TCPServer.shutdown(server)
    for server in servers:
        server.shutdown()


def test_the_limits_count_what_every_process_has(pair: Pair) -> None:
    with ExitStack() as stack:

        def associate(calling: str) -> int:
            return stack.enter_context(RawPeer(pair.port, calling=calling)).associate()

        assert [associate("CT1") for _ in range(5)] == [ACCEPTED] * 4 + [REJECTED]
        counted = lambda: [len(each.callers()) for each in pair.servers]  # noqa: E731
        wait_until(lambda: counted() == [4, 4], "who was rejected has no place any more")
        assert [associate(calling) for calling in ("CT2", "CT3", "CT4")] == [ACCEPTED, ACCEPTED, REJECTED]
    wait_until(lambda: not pair.servers[0].callers() and not pair.servers[1].callers(), "nobody is there any more")
    with RawPeer(pair.port, calling="CT5") as peer:
        assert peer.associate() == ACCEPTED


def test_a_result_is_told_by_the_process_that_has_the_association(pair: Pair) -> None:
    modality = Modality()
    with modality.associated(pair.port, DX, STORAGE_COMMITMENT) as assoc:
        film = store_film(assoc, 1)
        assert ask(assoc, request([film])) == 0
        mine = 0 if pair.servers[0].active_associations else 1
        assert pair.servers[1 - mine].active_associations == []
        assert not pair.tell(1 - mine)
        assert pair.tell(mine)
        assert len(modality.wait_for(1)) == 1
    assert only(pair.sessions, Commitment).state == CommitmentState.DELIVERED


def test_any_process_takes_up_what_was_asked_on_an_association_that_has_ended(pair: Pair) -> None:
    assert Modality().ask(pair.port, (DX, "1.2.3")) == 0
    for server in pair.servers:
        wait_until(lambda server=server: not server.callers(), "the association has ended")  # type: ignore[misc]
    assert pair.tell(1)
    assert only(pair.sessions, Commitment).state == CommitmentState.FAILED  # the settings name no address
