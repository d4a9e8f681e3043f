"""Enhanced acknowledgement mode (HL7 2.5.1 2.9.3): a commit acknowledgement, then perhaps the application's."""

import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest
from delivery_peers import SHORT_S, oru_payload, raw_peer
from waiting import LONG_S

from dicom_node.peers import MllpDestination
from integration.destinations import Ack, Outcome
from integration.mllp import MllpSender
from integration.simulators.ris import LoopbackRis, acknowledge, acknowledge_another

DELIVERED, RETRY, REJECTED = Outcome.DELIVERED, Outcome.RETRY, Outcome.REJECTED
COMMIT_ONLY, APPLICATION_TOO = (
    oru_payload().replace(b"|2.5.1||||||", b"|2.5.1|||" + conditions + b"||") for conditions in (b"AL|NE", b"AL|AL")
)
TO_WAIT_FOR = "ris took the report (CA) and has not said what became of it."


@pytest.fixture
def ris(tmp_path: Path) -> Iterator[LoopbackRis]:
    with LoopbackRis(tmp_path) as ris:
        yield ris


def send(port: int, payload: bytes, *, timeout_s: float = LONG_S) -> Ack:
    return MllpSender(MllpDestination(name="ris", host="127.0.0.1", port=port, timeout_s=timeout_s)).send(payload)


def answers(payload: bytes, *codes: str) -> bytes:
    return b"".join(acknowledge(payload, code=code) for code in codes)


@pytest.mark.parametrize(
    ("codes", "outcome", "code"),
    [
        (("CA", "AA"), DELIVERED, "AA"),
        (("CA", "AE"), REJECTED, "AE"),
        (("CA", "AR"), RETRY, "AR"),
        (("CA", "CA", "AA"), DELIVERED, "AA"),
        (("CE", "AA"), REJECTED, "CE"),
        (("CR", "AA"), RETRY, "CR"),
        (("AA",), DELIVERED, "AA"),
        (("AE",), REJECTED, "AE"),
    ],
)
def test_application_has_the_last_word_where_it_is_asked(
    codes: tuple[str, ...], outcome: Outcome, code: str, ris: LoopbackRis
) -> None:
    ris.reply = lambda message: answers(message, *codes)

    ack = send(ris.port, APPLICATION_TOO)

    assert (ack.outcome, ack.code) == (outcome, code)


@pytest.mark.parametrize(("code", "outcome"), [("CA", DELIVERED), ("CE", REJECTED), ("CR", RETRY)])
def test_commit_acknowledgement_is_the_last_word_where_no_other_is_asked(
    code: str, outcome: Outcome, ris: LoopbackRis
) -> None:
    ris.reply = lambda message: answers(message, code, "AE")

    ack = send(ris.port, COMMIT_ONLY)

    assert (ack.outcome, ack.code) == (outcome, code)


def committing(connection: socket.socket, *more: bytes) -> None:
    """Answer CA and whatever else at once, no disk in between, and wait for the other side to hang up."""
    connection.recv(65_536)
    connection.sendall(answers(APPLICATION_TOO, "CA") + b"".join(more))
    connection.recv(1)


def test_what_is_committed_is_not_sent_again_when_the_application_keeps_silent() -> None:
    with raw_peer(lambda connection: committing(connection, acknowledge_another(APPLICATION_TOO))) as port:
        ack = send(port, APPLICATION_TOO, timeout_s=SHORT_S)

    assert (ack.outcome, ack.code, ack.reason) == (DELIVERED, "CA", TO_WAIT_FOR)


def test_what_is_committed_is_not_sent_again_when_the_connection_ends() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answers(APPLICATION_TOO, "CA"))

    with raw_peer(talk) as port:
        ack = send(port, APPLICATION_TOO)

    assert (ack.outcome, ack.code, ack.reason) == (DELIVERED, "CA", TO_WAIT_FOR)


def test_application_gets_a_time_out_of_its_own() -> None:
    def talk(connection: socket.socket) -> None:
        sleep(SHORT_S)
        committing(connection)

    started = monotonic()
    with raw_peer(talk) as port:
        ack = send(port, APPLICATION_TOO, timeout_s=4 * SHORT_S)
        lasted = monotonic() - started

    assert ack.code == "CA"
    assert 5 * SHORT_S <= lasted < LONG_S


def test_silence_is_retried(ris: LoopbackRis) -> None:
    ris.reply = lambda _: b""

    assert send(ris.port, APPLICATION_TOO, timeout_s=SHORT_S).outcome is RETRY


def test_application_that_answers_in_a_later_packet_is_heard() -> None:
    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(65_536)
        for byte in answers(APPLICATION_TOO, "CA", "AE"):
            connection.sendall(bytes([byte]))

    with raw_peer(talk) as port:
        assert send(port, APPLICATION_TOO).outcome is REJECTED


@pytest.mark.parametrize(("condition", "expected"), [(b"AL", b"\rMSA|CA|"), (b"NE", b""), (b"", b"")])
def test_an_answer_that_asks_to_be_acknowledged_is(condition: bytes, expected: bytes) -> None:
    heard = []

    def talk(connection: socket.socket) -> None:
        connection.recv(65_536)
        answer = answers(APPLICATION_TOO, "AA").replace(b"|2.5.1\r", b"|2.5.1|||" + condition + b"|NE\r")
        connection.sendall(answers(APPLICATION_TOO, "CA") + answer)
        heard.append(connection.recv(65_536))

    with raw_peer(talk) as port:
        assert send(port, APPLICATION_TOO).code == "AA"

    assert expected in heard[0]
    assert bool(heard[0]) is bool(expected)
