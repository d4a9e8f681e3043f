import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority, replace
from delivery_peers import (
    CONTROL_ID,
    SHORT_S,
    make_certificates,
    node_receivers,
    oru_payload,
    python_hl7_server,
    raw_peer,
)
from waiting import LONG_S

from dicom_node.peers import MllpDestination, Tls
from integration.destinations import NOT_SENT, Ack, Outcome
from integration.framing import frame
from integration.mllp import MllpSender
from integration.simulators.inbox import read_receipts
from integration.simulators.ris import LoopbackRis, acknowledge, acknowledge_another, answer_with, talk_rubbish

DELIVERED, RETRY, REJECTED = Outcome.DELIVERED, Outcome.RETRY, Outcome.REJECTED

# HL7 table 0008
CODES = [("AA", DELIVERED), ("CA", DELIVERED), ("AE", REJECTED), ("CE", REJECTED), ("AR", RETRY), ("CR", RETRY)]
GOOD_ACK = f"MSH|^~\\&|RIS|HOSPITAL|CXRNODE|RADIOLOGY|20260801||ACK^R01^ACK|X1|T|2.5.1\rMSA|AA|{CONTROL_ID}\r"


def sender(port: int, *, timeout_s: float = LONG_S, tls: Tls | None = None) -> MllpSender:
    return MllpSender(MllpDestination(name="ris", host="127.0.0.1", port=port, timeout_s=timeout_s, tls=tls))


@pytest.fixture
def ris(tmp_path: Path) -> Iterator[LoopbackRis]:
    with LoopbackRis(tmp_path) as ris:
        yield ris


def send_and_hear(ris: LoopbackRis, *answers: bytes, timeout_s: float = LONG_S) -> Ack:
    ris.reply = lambda _: b"".join(answers)
    return sender(ris.port, timeout_s=timeout_s).send(oru_payload())


@pytest.mark.parametrize(("code", "outcome"), CODES)
def test_acknowledgement_code_decides_what_becomes_of_the_delivery(
    code: str, outcome: Outcome, ris: LoopbackRis
) -> None:
    ris.reply = answer_with(code)

    ack = sender(ris.port).send(oru_payload())

    assert (ack.outcome, ack.code) == (outcome, code)
    assert code in ack.reason


@pytest.mark.parametrize("code", ["XX", "", "aa"])
def test_unknown_code_is_no_acknowledgement(code: str, ris: LoopbackRis) -> None:
    assert send_and_hear(ris, acknowledge(oru_payload(), code=code), timeout_s=SHORT_S).outcome is RETRY


@pytest.mark.parametrize(
    ("error", "words"),
    [("101", "101 required field missing"), ("207", "207 application internal error"), ("205", "duplicate key")],
)
def test_error_of_table_0357_is_told(error: str, words: str, ris: LoopbackRis) -> None:
    ris.reply = answer_with("AE", error)

    assert words in sender(ris.port).send(oru_payload()).reason


def test_text_of_the_peer_is_not_told(ris: LoopbackRis) -> None:
    refusal = (
        f"MSH|^~\\&|R|||||||||2.5.1\rMSA|AE|{CONTROL_ID}|CANARY^PHI\rERR|||CANARY^x|E||||CANARY\rERR|||103^CANARY|E\r"
    )

    ack = send_and_hear(ris, frame(refusal.encode()))

    assert ack.reason == "ris found an error in the report (AE, 103 table value not found)."


def test_an_error_of_a_peer_that_says_nothing_more_is_still_a_refusal(ris: LoopbackRis) -> None:
    refusal = f"MSH|^~\\&|R|||||||||2.5.1\rMSA|AE|{CONTROL_ID}\rERR|\r"

    ack = send_and_hear(ris, frame(refusal.encode()))

    assert (ack.outcome, ack.code) == (REJECTED, "AE")


SLOPPY_ACKS = {
    "line_feeds": GOOD_ACK.replace("\r", "\n").encode(),
    "carriage_return_line_feeds": GOOD_ACK.replace("\r", "\r\n").encode(),
    "no_end_of_last_segment": GOOD_ACK.rstrip("\r").encode(),
    "blank_lines": f"\r\r{GOOD_ACK}\r\r".encode(),
    "byte_order_mark": b"\xef\xbb\xbf" + GOOD_ACK.encode(),
    "other_separators": GOOD_ACK.replace("|", "#").replace("^", "@").encode(),
    "latin_1": GOOD_ACK.replace("T|2.5.1", "T|2.5.1||||||8859/1").replace("HOSPITAL", "KÖLN").encode("latin-1"),
    "japanese": GOOD_ACK.replace("HOSPITAL", "病院").encode("iso2022_jp"),
    "version_2_7_separators": GOOD_ACK.replace("|^~\\&|", "|^~\\&#|").encode(),
    "extra_segments": GOOD_ACK.replace("MSA|", "SFT|x\rMSA|").encode() + b"ZZZ|1\r",
    "blanks_around_the_control_id": GOOD_ACK.replace(CONTROL_ID, f" {CONTROL_ID} ").encode(),
    "literal_control_id_and_no_trigger": GOOD_ACK.replace("ACK^R01^ACK|X1", "ACK|ACK").encode(),
}


@pytest.mark.parametrize("message", SLOPPY_ACKS.values(), ids=SLOPPY_ACKS.keys())
def test_sloppy_acknowledgement_is_understood(message: bytes, ris: LoopbackRis) -> None:
    assert send_and_hear(ris, frame(message)).outcome is DELIVERED


UNREADABLE_ACKS = {
    "nothing": b"",
    "no_segments": b"hello",
    "header_alone": GOOD_ACK.split("\r", maxsplit=1)[0].encode(),
    "no_header": f"MSA|AA|{CONTROL_ID}".encode(),
    "short_header": f"MSH|\rMSA|AA|{CONTROL_ID}".encode(),
    "short_msa": GOOD_ACK.split("\r", maxsplit=1)[0].encode() + b"\rMSA|AA",
    "utf_16": GOOD_ACK.encode("utf-16"),
}


@pytest.mark.parametrize("message", UNREADABLE_ACKS.values(), ids=UNREADABLE_ACKS.keys())
def test_unreadable_acknowledgement_counts_as_silence(message: bytes, ris: LoopbackRis) -> None:
    ack = send_and_hear(ris, frame(message), timeout_s=SHORT_S)

    assert (ack.outcome, ack.code) == (RETRY, "")
    assert "did not acknowledge" in ack.reason


def test_acknowledgement_of_another_message_is_ignored(ris: LoopbackRis) -> None:
    assert send_and_hear(ris, acknowledge_another(oru_payload()), timeout_s=SHORT_S).outcome is RETRY


def test_ours_after_noise_and_others_is_found(ris: LoopbackRis) -> None:
    noise = talk_rubbish(b"") + acknowledge_another(oru_payload())

    assert send_and_hear(ris, noise, acknowledge(oru_payload(), code="AE")).outcome is REJECTED


def test_late_acknowledgement_does_not_answer_the_next_message(ris: LoopbackRis) -> None:
    ris.delay_s = 3 * SHORT_S
    assert sender(ris.port, timeout_s=SHORT_S).send(oru_payload()).outcome is RETRY
    ris.delay_s = 0.0
    ris.reply = answer_with("AR")

    assert sender(ris.port).send(oru_payload()).outcome is RETRY


def test_acknowledgement_in_pieces_is_put_together() -> None:
    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(65_536)
        for byte in frame(GOOD_ACK.encode()):
            connection.sendall(bytes([byte]))

    with raw_peer(talk) as port:
        assert sender(port).send(oru_payload()).outcome is DELIVERED


@pytest.mark.parametrize("sent", [b"", b"\x0b", frame(GOOD_ACK.encode())[:-1], frame(GOOD_ACK.encode())[:40]])
def test_connection_closed_within_the_acknowledgement_is_retried(sent: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(sent)

    with raw_peer(talk) as port:
        assert sender(port).send(oru_payload()).outcome is RETRY


def test_endless_answer_is_given_up() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"\x0b")
        while True:
            connection.sendall(b"MSH" * 20_000)

    with raw_peer(talk) as port:
        ack = sender(port).send(oru_payload())

    assert ack.outcome is RETRY
    assert "bytes" in ack.reason


def test_unknown_host_is_retried() -> None:
    ack = MllpSender(MllpDestination(name="ris", host="ris.invalid", timeout_s=LONG_S)).send(oru_payload())

    assert ack.outcome is RETRY
    assert "cannot be reached" in ack.reason


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tls, Tls]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_delivers_over_tls(certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    server, client = certificates
    with LoopbackRis(tmp_path, tls=server) as ris:
        assert sender(ris.port, tls=client).send(oru_payload()).outcome is DELIVERED


def test_ris_with_a_certificate_of_strangers_gets_nothing(certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    stranger, _ = make_certificates(tmp_path / "strangers", "Another CA")
    with LoopbackRis(tmp_path / "ris", tls=stranger) as ris:
        ack = sender(ris.port, tls=certificates[1]).send(oru_payload())

    assert ack.outcome is RETRY
    assert "TLS" in ack.reason
    assert read_receipts(tmp_path / "ris") == []


def test_sender_with_a_certificate_of_strangers_is_turned_away(certificates: tuple[Tls, Tls], tmp_path: Path) -> None:
    _, stranger = make_certificates(tmp_path / "strangers", "Another CA")
    mixed = stranger.model_copy(update={"ca": certificates[0].ca})
    with LoopbackRis(tmp_path / "ris", tls=certificates[0]) as ris:
        ack = sender(ris.port, tls=mixed).send(oru_payload())

    assert ack.outcome is RETRY
    assert read_receipts(tmp_path / "ris") == []


def test_tls_to_a_ris_without_tls_is_retried(certificates: tuple[Tls, Tls], ris: LoopbackRis) -> None:
    ack = sender(ris.port, tls=certificates[1], timeout_s=SHORT_S).send(oru_payload())

    assert (ack.outcome, ack.code) == (RETRY, NOT_SENT)
    assert "TLS" in ack.reason


def test_renewed_certificates_are_shown_from_the_next_message_on(tmp_path: Path) -> None:
    authority, new_authority = Authority(tmp_path / "own"), Authority(tmp_path / "new", "New CA")
    own = authority.issue("node")
    with LoopbackRis(tmp_path / "ris", tls=new_authority.issue("ris")) as ris:
        to = sender(ris.port, tls=own)
        ack = to.send(oru_payload())
        assert (ack.outcome, "no TLS (self-signed certificate in certificate chain)" in ack.reason) == (RETRY, True)
        replace(own, new_authority.issue("node"))
        assert to.send(oru_payload()).outcome is DELIVERED
        own.key.write_text("")
        assert to.send(oru_payload()).outcome is RETRY


def test_missing_certificate_is_found_when_the_sender_is_made(tmp_path: Path) -> None:
    nowhere = Tls(certificate=tmp_path / "c", key=tmp_path / "k", ca=tmp_path / "a")

    with pytest.raises(OSError, match="No such file"):
        sender(2575, tls=nowhere)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # python-hl7, since Python 3.12
def test_python_hl7_takes_the_message() -> None:
    with python_hl7_server() as (port, texts):
        acks = [sender(port).send(oru_payload()) for _ in range(2)]

    assert [ack.code for ack in acks] == ["AA", "AA"]
    assert texts == ["Lungs clear. Größe unverändert."] * 2


@pytest.mark.parametrize(("code", "outcome"), [("AA", DELIVERED), ("AE", REJECTED), ("AR", RETRY)])
def test_both_node_libraries_are_understood(code: str, outcome: Outcome) -> None:
    with node_receivers("--ack", code) as ports:
        acks = [sender(port).send(oru_payload()) for port in ports]

    assert [(ack.outcome, ack.code) for ack in acks] == [(outcome, code)] * 2
