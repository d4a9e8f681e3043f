"""What a PACS has stored is asked to be committed, waited for, and sent again where it is not: over real sockets."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from committing_pacs import CommittingPacs, commit_anew, commit_here, fail_anew, failure_of, keep_silent
from delivery_peers import orthanc
from doubles import DELIVERED, FakeDestination, FrozenClock
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage
from pynetdicom.association import Association
from rows import add_delivery, add_job, add_report, all_of, only, receive
from sqlmodel import select
from waiting import free_port, in_threads, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import NodeError, PeerRejected, PeerUnreachable
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, Job, Study
from dicom_node.operator import retry
from dicom_node.peers import DicomDestination
from dicom_node.receive.commitment_answer import make_answer_handler
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import bound_port
from dicom_node.receive.scp import start_server
from dicom_node.settlement import settle_job
from dicom_node.states import DeliveryKind, DeliveryState
from dicom_node.storage import InstanceStore
from integration.commitment_scu import CommitmentScu
from integration.commitments import commit_due, forgo
from integration.relay import Teller, deliver_due
from integration.store_scu import StoreScu

TIMEOUT_S = 60.0


@dataclass
class House:
    """The relay's two rounds for one PACS, and the port of the scp."""

    teller: Teller
    clock: FrozenClock
    port: int
    pacs: DicomDestination = field(init=False)

    def know(self, port: int, ae_title: str = "PACS") -> None:
        self.pacs = DicomDestination(
            name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=5, commitment=True,
            commitment_timeout_s=TIMEOUT_S,
        )  # fmt: skip

    def report(self, *others: dict[str, Any]) -> None:
        """A draft that waits to be sent to the PACS, and to others."""
        with self.teller.sessions.begin() as session:
            instance = receive(session, self.teller.store)
            made = add_report(session, add_job(session, session.exec(select(Study)).one(), state="reported"), instance)
            for columns in ({"wants_commitment": True}, *others):
                add_delivery(session, made, **columns)

    def send(self) -> bool:
        return deliver_due(self.teller, StoreScu(self.pacs, "CXRNODE"))

    def ask(self) -> bool:
        on_answer = make_answer_handler(self.teller.sessions, self.knowing, self.clock)
        return commit_due(self.teller, CommitmentScu(self.pacs, "CXRNODE", on_answer))

    @property
    def knowing(self) -> Settings:
        """The settings as they are where the answer arrives."""
        return self.teller.settings.model_copy(update={"pacs": (self.pacs,)})

    def delivery(self) -> Delivery:
        found = all_of(self.teller.sessions, Delivery)[0]
        assert isinstance(found, Delivery)
        return found

    def states(self) -> tuple[str, str]:
        return self.delivery().state, only(self.teller.sessions, Job).state

    def wait_for(self, state: str) -> None:
        wait_until(lambda: self.delivery().state == state, f"the delivery is {state}")


@pytest.fixture
def house(sessions: Sessions, settings: Settings) -> Iterator[House]:
    with running(sessions, settings) as house:
        yield house


@pytest.fixture
def small_house(sqlite_sessions: Sessions, settings: Settings) -> Iterator[House]:
    """On one database: for what is about the network alone."""
    with running(sqlite_sessions, settings) as house:
        yield house


@contextmanager
def running(sessions: Sessions, settings: Settings, ae_title: str = "PACS") -> Iterator[House]:
    clock, store = FrozenClock(), InstanceStore(settings.instances_dir)
    pacs = DicomDestination(name="pacs", ae_title=ae_title, host="127.0.0.1", commitment=True)
    known = settings.model_copy(update={"pacs": (pacs,), "max_delivery_attempts": 3})
    server = start_server(known, Receiver(store, sessions, clock))
    try:
        yield House(Teller(sessions, store, known, clock), clock, bound_port(server))
    finally:
        server.shutdown()


@contextmanager
def asked(house: House, tell: Callable[..., None], **changes: Any) -> Iterator[CommittingPacs]:
    """The PACS has the report and was asked to commit it."""
    pacs = CommittingPacs(tell, node_port=house.port, **changes)
    with pacs.listening() as port:
        house.know(port)
        house.report()
        assert house.send()
        assert house.states() == ("delivered", "reported")
        assert house.ask()
        yield pacs


@pytest.mark.parametrize("tell", [commit_here, commit_anew])
def test_what_the_pacs_commits_is_committed_wherever_it_says_so(tell: Callable[..., None], house: House) -> None:
    with asked(house, tell) as pacs:
        house.wait_for("committed")
        wait_until(lambda: pacs.answers, "the PACS was answered")
        assert pacs.answers == [0x0000]
        (request,) = pacs.asked
        (named,) = request.ReferencedSOPSequence
        delivery = house.delivery()
        assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (
            BasicTextSRStorage,
            delivery.identifier,
        )
        assert request.TransactionUID == delivery.transaction_uid
        assert only(house.teller.sessions, Job).state == "done"
        assert not house.ask()
        assert len(pacs.stored) == 1


def test_what_was_not_committed_is_sent_again_as_the_same_bytes_and_asked_for_anew(house: House) -> None:
    with asked(house, fail_anew) as pacs:
        house.wait_for("pending")
        assert house.delivery().reason.startswith("not committed: failure reason 0112; attempt 1 of 3, again at")
        assert only(house.teller.sessions, Job).state == "reported"
        pacs.tell = commit_anew
        house.clock.forward(3_600)
        assert house.send()
        assert house.ask()
        house.wait_for("committed")
    assert pacs.stored[0] == pacs.stored[1]
    assert len({request.TransactionUID for request in pacs.asked}) == 2


def test_what_is_not_committed_in_time_is_sent_again(house: House) -> None:
    with asked(house, keep_silent) as pacs:
        house.clock.forward(TIMEOUT_S - 1)
        assert not house.ask()
        house.clock.forward(1)
        assert house.ask()
        assert house.states() == ("pending", "reported")
        assert house.delivery().reason.startswith("PACS has not committed it within 60 s")
        late = pacs.asked[0]
        with pacs.associated() as assoc:  # comes after all: it is sent again all the same, and harms nobody
            pacs.report(assoc, late)
        assert (pacs.answers, house.states()) == ([0x0000], ("pending", "reported"))


def test_a_pacs_that_never_commits_is_given_up_and_a_person_sends_again(house: House) -> None:
    with asked(house, keep_silent) as pacs:
        for _ in range(2):
            house.clock.forward(TIMEOUT_S)
            assert house.ask()
            house.clock.forward(3_600)
            assert house.send()
            assert house.ask()
        house.clock.forward(TIMEOUT_S)
        assert house.ask()
        assert house.states() == ("failed", "failed")
        assert house.delivery().reason == "PACS has not committed it within 60 s; gave up after 3 attempts"
        with house.teller.sessions.begin() as session:
            retry(session, session.exec(select(Study.id)).one(), house.clock())
        pacs.tell = commit_here
        assert house.send()
        assert house.ask()
        assert house.states() == ("committed", "done")


def test_what_the_pacs_says_it_has_not_to_the_last_fails_the_job(house: House) -> None:
    with asked(house, fail_anew):
        for _ in range(2):
            house.wait_for("pending")
            house.clock.forward(3_600)
            assert house.send()
            assert house.ask()
        house.wait_for("failed")
        assert house.states() == ("failed", "failed")


def test_whoever_dies_between_writing_down_the_transaction_and_asking_loses_nothing(house: House) -> None:
    with asked(house, commit_here):
        pass
    with CommittingPacs(commit_here).listening() as port:
        house.know(port)
        with house.teller.sessions.begin() as session:
            delivery = session.exec(select(Delivery)).one()
            delivery.state, session.exec(select(Job)).one().state = "delivered", "reported"
            delivery.transaction_uid = "1.2.3"  # on the disk, and not on the wire
        house.clock.forward(TIMEOUT_S)
        assert house.ask()
        house.clock.forward(3_600)
        assert house.send()
        assert house.ask()
        assert house.states() == ("committed", "done")


def test_two_relays_ask_once(house: House) -> None:
    pacs = CommittingPacs(keep_silent)
    with pacs.listening() as port:
        house.know(port)
        house.report()
        house.send()
        in_threads(house.ask, 2)
    assert len(pacs.asked) == 1


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"status": 0x0213}, "pending", "PACS cannot commit now (status 0213)"),
        ({"status": 0x0110}, "pending", "PACS cannot commit now (status 0110)"),
        ({"status": 0x0124}, "failed", "PACS refused to commit (status 0124)"),
        ({"services": (BasicTextSRStorage,)}, "failed", "PACS does not offer the service"),
    ],
)
def test_a_pacs_that_does_not_take_the_request_is_asked_later_or_shown_to_a_person(
    changes: dict[str, Any], state: str, words: str, small_house: House
) -> None:
    with asked(small_house, keep_silent, **changes):
        assert small_house.states() == (state, "failed" if state == "failed" else "reported")
        assert small_house.delivery().reason.startswith(words)


def test_a_pacs_that_cannot_be_reached_is_asked_later(small_house: House) -> None:
    with CommittingPacs(keep_silent).listening() as port:
        small_house.know(port)
        small_house.report()
        small_house.send()
    small_house.know(free_port())
    assert small_house.ask()
    assert small_house.states() == ("pending", "reported")
    assert "cannot be reached" in small_house.delivery().reason


@pytest.mark.parametrize("error", [PeerUnreachable("hung up"), PeerRejected("refused")])
def test_what_was_committed_stays_so_however_the_asking_ends(error: NodeError, house: House) -> None:
    class Late(CommitmentScu):
        def ask(self, *_: object) -> None:
            with house.teller.sessions.begin() as session:
                delivery = session.exec(select(Delivery)).one()
                advance(session, delivery, DeliveryState.COMMITTED, now=house.clock(), reason="the answer came")
                settle_job(session, delivery, house.clock())
            raise error

    with CommittingPacs(keep_silent).listening() as port:
        house.know(port)
        house.report()
        house.send()
    assert commit_due(house.teller, Late(house.pacs, "CXRNODE", print))  # type: ignore[arg-type]
    assert (house.states(), house.delivery().reason) == (("committed", "done"), "the answer came")


def abort(_: CommittingPacs, assoc: Association, __: Dataset) -> None:
    assoc.abort()


def say_nothing_of_it(pacs: CommittingPacs, assoc: Association, asked: Dataset) -> None:
    asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"
    pacs.report(assoc, asked)


def say_both(pacs: CommittingPacs, assoc: Association, asked: Dataset) -> None:
    told = failure_of(asked, 0x0119)
    told.ReferencedSOPSequence = asked.ReferencedSOPSequence
    pacs.report(assoc, told, event_type=2)


def fail_without_a_reason(pacs: CommittingPacs, assoc: Association, asked: Dataset) -> None:
    told = failure_of(asked, 0x0112)
    del told.FailedSOPSequence[0].FailureReason
    pacs.report(assoc, told, event_type=2)


@pytest.mark.parametrize(
    ("tell", "state", "words"),
    [
        (abort, "delivered", ""),
        (fail_without_a_reason, "pending", "not committed: failure reason 0110"),
        (say_nothing_of_it, "pending", "not committed: does not say of it"),
        (say_both, "pending", "not committed: failure reason 0119"),
    ],
)
def test_what_is_in_doubt_is_not_committed(
    tell: Callable[..., None], state: str, words: str, small_house: House
) -> None:
    with asked(small_house, tell):
        small_house.wait_for(state)
        assert small_house.delivery().reason.startswith(words)


def of_another_transaction(asked: Dataset) -> tuple[Dataset, int]:
    asked.TransactionUID = "1.2.3"
    return asked, 1


def without_a_transaction(asked: Dataset) -> tuple[Dataset, int]:
    del asked.TransactionUID
    return asked, 1


def of_an_unknown_type(asked: Dataset) -> tuple[Dataset, int]:
    return asked, 3


@pytest.mark.parametrize(
    ("change", "calling_ae", "status"),
    [
        (of_another_transaction, "PACS", 0x0115),
        (without_a_transaction, "PACS", 0x0115),
        (of_an_unknown_type, "PACS", 0x0113),
        (lambda asked: (asked, 1), "STRANGER", 0x0115),
    ],
    ids=["another transaction", "no transaction", "unknown event type", "another peer"],
)
def test_an_answer_that_fits_no_question_changes_nothing(
    change: Callable[[Dataset], tuple[Dataset, int]], calling_ae: str, status: int, small_house: House
) -> None:
    with asked(small_house, keep_silent) as pacs:
        information, event_type = change(pacs.asked[0])
        with pacs.associated(calling_ae=calling_ae) as assoc:
            pacs.report(assoc, information, event_type=event_type)
        assert pacs.answers == [status]
        assert small_house.states() == ("delivered", "reported")


def test_an_answer_of_another_instance_changes_nothing(small_house: House) -> None:
    with asked(small_house, keep_silent) as pacs, pacs.associated() as assoc:
        pacs.report(assoc, pacs.asked[0], instance="1.2.3")
    assert (pacs.answers, small_house.states()) == ([0x0112], ("delivered", "reported"))


def test_an_answer_that_comes_twice_is_taken_twice(small_house: House) -> None:
    with asked(small_house, commit_here) as pacs, pacs.associated() as assoc:
        pacs.report(assoc, pacs.asked[0])
        pacs.report(assoc, failure_of(pacs.asked[0]), event_type=2)
    assert pacs.answers == [0x0000] * 3
    assert small_house.states() == ("committed", "done")


def test_the_job_waits_for_the_commitment_and_for_the_others(house: House) -> None:
    pacs = CommittingPacs(commit_here)
    with pacs.listening() as port:
        house.know(port)
        house.report({"destination": "ris", "kind": DeliveryKind.ORU})
        house.send()
        deliver_due(house.teller, FakeDestination("ris", DeliveryKind.ORU, acks=(DELIVERED,)))
        assert only(house.teller.sessions, Job).state == "reported"
        house.ask()
    assert house.states() == ("committed", "done")


def test_when_the_settings_ask_for_no_commitment_any_more_delivered_is_enough(house: House) -> None:
    with asked(house, keep_silent):
        assert not forgo(house.teller, ("pacs",))
        assert forgo(house.teller, ())
        assert house.states() == ("delivered", "done")
        assert not forgo(house.teller, ())


def test_orthanc_commits_what_it_has_and_what_it_lost_is_sent_again(
    sqlite_sessions: Sessions, settings: Settings, tmp_path: Path
) -> None:
    with (
        orthanc(tmp_path / "orthanc") as (dicom, http),
        running(sqlite_sessions, settings, ae_title="TESTPACS") as house,
    ):
        rest(http, "PUT", "/modalities/node", {"AET": "CXRNODE", "Host": "127.0.0.1", "Port": house.port})
        house.know(dicom, "TESTPACS")
        house.report()
        house.send()
        for held in rest(http, "GET", "/instances"):
            rest(http, "DELETE", f"/instances/{held}")
        assert house.ask()
        house.wait_for("pending")
        assert "failure reason 0112" in house.delivery().reason
        house.clock.forward(3_600)
        assert house.send()
        assert house.ask()
        house.wait_for("committed")
        assert len(rest(http, "GET", "/instances")) == 1


def rest(port: int, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        content = answer.read()
    return json.loads(content) if content else None
