"""What holds for each destination, whatever it speaks. A new one is one more rig."""

import hashlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from delivery_peers import (
    CONTROL_ID,
    SHORT_S,
    SOP_INSTANCE_UID,
    data_set_bytes,
    free_port,
    oru_payload,
    raw_peer,
    sr_payload,
)
from report_samples import make_document
from waiting import LONG_S

from dicom_node.peers import DicomDestination, MllpDestination
from integration.destinations import NOT_SENT, Destination, Outcome
from integration.mllp import MllpSender
from integration.simulators.inbox import Inbox, read_receipts
from integration.simulators.pacs import NO_FAULT, LoopbackPacs, PacsFault
from integration.simulators.ris import LoopbackRis, Reply, acknowledge, answer_with, hang_up, keep_silent
from integration.store_scu import StoreScu


@dataclass
class Peer:
    """A peer that is up, and the four ways in which each peer can fail us."""

    port: int
    inbox: Inbox
    heal: Callable[[], None]
    refuse: Callable[[], None]
    be_busy: Callable[[], None]
    keep_silent: Callable[[], None]
    hang_up: Callable[[], None]


@dataclass
class Rig:
    destination_at: Callable[[int, float], Destination]
    peer: Callable[[Path], AbstractContextManager[Peer]]
    payload: bytes
    identifier: str
    content: Callable[[bytes], bytes]  # what of a payload goes over the wire


def _store_scu(port: int, timeout_s: float) -> Destination:
    to = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, timeout_s=timeout_s)
    return StoreScu(to, "CXRNODE")


def _mllp_sender(port: int, timeout_s: float) -> Destination:
    return MllpSender(MllpDestination(name="ris", host="127.0.0.1", port=port, timeout_s=timeout_s))


@contextmanager
def _pacs(folder: Path) -> Iterator[Peer]:
    with LoopbackPacs(folder) as pacs:

        def be(fault: PacsFault) -> Callable[[], None]:
            return lambda: setattr(pacs, "fault", fault)

        yield Peer(
            pacs.port,
            pacs.inbox,
            heal=be(NO_FAULT),
            refuse=be(PacsFault(status=0xC000)),
            be_busy=be(PacsFault(status=0xA700)),
            keep_silent=be(PacsFault(hang_s=LONG_S)),
            hang_up=be(PacsFault(abort=True)),
        )


@contextmanager
def _ris(folder: Path) -> Iterator[Peer]:
    with LoopbackRis(folder) as ris:

        def be(reply: Reply) -> Callable[[], None]:
            return lambda: setattr(ris, "reply", reply)

        yield Peer(
            ris.port,
            ris.inbox,
            heal=be(acknowledge),
            refuse=be(answer_with("AE", "101")),
            be_busy=be(answer_with("AR", "207")),
            keep_silent=be(keep_silent),
            hang_up=be(hang_up),
        )


RIGS = {
    "store_scu": Rig(_store_scu, _pacs, sr_payload(), SOP_INSTANCE_UID, data_set_bytes),
    "mllp": Rig(_mllp_sender, _ris, oru_payload(), CONTROL_ID, bytes),
}


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest) -> Rig:
    return RIGS[request.param]


@pytest.fixture
def peer(rig: Rig, tmp_path: Path) -> Iterator[Peer]:
    with rig.peer(tmp_path) as peer:
        yield peer


@pytest.fixture(autouse=True)
def no_patient_data_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert "CANARY" not in caplog.text


def test_equal_documents_give_equal_bytes_that_name_themselves(rig: Rig) -> None:
    destination = rig.destination_at(0, LONG_S)

    first, second = destination.encode(make_document()), destination.encode(make_document())

    assert first == second
    assert first.identifier.encode() in first.payload


def test_what_is_encoded_is_delivered_unchanged(rig: Rig, peer: Peer) -> None:
    destination = rig.destination_at(peer.port, LONG_S)
    encoded = destination.encode(make_document())

    ack = destination.send(encoded.payload)

    stored = peer.inbox.path(encoded.identifier).read_bytes()
    assert ack.outcome is Outcome.DELIVERED
    assert rig.content(stored) == rig.content(encoded.payload)


def test_accepted_report_is_delivered_with_a_code(rig: Rig, peer: Peer) -> None:
    ack = rig.destination_at(peer.port, LONG_S).send(rig.payload)

    assert ack.outcome is Outcome.DELIVERED
    assert ack.code in {"0000", "AA"}


def test_resend_brings_the_same_bytes_and_leaves_one_object(rig: Rig, peer: Peer, tmp_path: Path) -> None:
    destination = rig.destination_at(peer.port, LONG_S)

    destination.send(rig.payload)
    destination.send(rig.payload)

    wire_bytes = rig.content(rig.payload)
    receipts = [(each.identifier, each.sha256) for each in read_receipts(tmp_path)]
    assert receipts == [(rig.identifier, hashlib.sha256(wire_bytes).hexdigest())] * 2
    assert peer.inbox.path(rig.identifier).read_bytes().endswith(wire_bytes)
    assert len(list(tmp_path.iterdir())) == 2  # the object and the journal


def test_refusal_is_rejected(rig: Rig, peer: Peer) -> None:
    peer.refuse()

    ack = rig.destination_at(peer.port, LONG_S).send(rig.payload)

    assert ack.outcome is Outcome.REJECTED
    assert ack.code in {"C000", "AE"}


def test_busy_peer_is_retried(rig: Rig, peer: Peer) -> None:
    peer.be_busy()

    ack = rig.destination_at(peer.port, LONG_S).send(rig.payload)

    assert ack.outcome is Outcome.RETRY
    assert ack.code in {"A700", "AR"}


def test_silence_after_the_report_is_retried_in_time(rig: Rig, peer: Peer) -> None:
    peer.keep_silent()
    started = monotonic()

    ack = rig.destination_at(peer.port, 4 * SHORT_S).send(rig.payload)  # which it has for the association, too

    assert ack.outcome is Outcome.RETRY
    assert not ack.code
    assert monotonic() - started < LONG_S / 2
    assert peer.inbox.wait_for(1, LONG_S)  # the peer had it: a resend must do no harm


def test_peer_that_never_speaks_is_retried_in_time(rig: Rig) -> None:
    is_over = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        is_over.wait(LONG_S)

    with raw_peer(say_nothing) as port:
        started = monotonic()
        ack = rig.destination_at(port, SHORT_S).send(rig.payload)
        seconds = monotonic() - started
        is_over.set()

    assert ack.outcome is Outcome.RETRY
    assert seconds < LONG_S / 2


def test_hang_up_is_retried(rig: Rig, peer: Peer) -> None:
    peer.hang_up()

    assert rig.destination_at(peer.port, LONG_S).send(rig.payload).outcome is Outcome.RETRY


def test_connection_closed_at_once_is_retried(rig: Rig) -> None:
    with raw_peer(lambda connection: None) as port:
        assert rig.destination_at(port, LONG_S).send(rig.payload).outcome is Outcome.RETRY


def test_rubbish_is_retried(rig: Rig) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with raw_peer(talk) as port:
        assert rig.destination_at(port, SHORT_S).send(rig.payload).outcome is Outcome.RETRY


def test_nobody_listening_is_retried_and_has_nothing(rig: Rig) -> None:
    ack = rig.destination_at(free_port(), LONG_S).send(rig.payload)

    assert (ack.outcome, ack.code) == (Outcome.RETRY, NOT_SENT)


def test_delivery_succeeds_once_the_peer_is_well_again(rig: Rig, peer: Peer) -> None:
    destination = rig.destination_at(peer.port, LONG_S)
    peer.be_busy()
    assert destination.send(rig.payload).outcome is Outcome.RETRY
    peer.heal()

    assert destination.send(rig.payload).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("fault", ["heal", "refuse", "be_busy", "hang_up"])
def test_reason_is_a_sentence_without_patient_data(rig: Rig, peer: Peer, fault: str) -> None:
    getattr(peer, fault)()

    reason = rig.destination_at(peer.port, LONG_S).send(rig.payload).reason

    assert reason.endswith(".")
    assert " " in reason
    assert "CANARY" not in reason
    assert rig.identifier not in reason
