"""The HL7 port: many connections, all kinds of senders, and what nobody should do."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hl7.client
import pytest
from delivery_peers import make_certificates, node_senders
from hl7_messages import code_of, fields_of, final, order
from inbound_peer import MllpSender, listening
from rows import all_of
from sqlmodel import func, select
from waiting import LONG_S, in_threads, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import InboundMessage, Order
from dicom_node.roles import roles_of
from dicom_node.tls import client_context
from integration import inbound
from integration.framing import END_OF_BLOCK, START_OF_BLOCK, frame
from integration.mllp_conversation import Limits

CONNECTIONS = 200
SOON = Limits(message_s=0.5, idle_s=0.5)


@pytest.fixture
def port(settings: Settings, sqlite_sessions: Sessions) -> Iterator[int]:
    with listening(settings, sqlite_sessions) as port:
        yield port


def numbered(number: int, **changes: str) -> bytes:
    names = {"placer": f"PLC{number}", "filler": f"FIL{number}", "accession": f"CANARY-{number}"}
    return order(control_id=f"C{number}", **names, **changes)


def kept(sessions: Sessions) -> int:
    with sessions() as session:
        return session.exec(select(func.count()).select_from(InboundMessage)).one()


def test_a_connection_takes_one_message_after_the_other(settings: Settings, sessions: Sessions) -> None:
    with listening(settings, sessions) as port, MllpSender(port) as sender:
        for number in range(5):
            assert fields_of(sender.ask(numbered(number))) == ["MSA", "AA", f"C{number}"]
            assert kept(sessions) == number + 1


def test_messages_sent_at_once_are_answered_in_their_order(settings: Settings, sessions: Sessions) -> None:
    with listening(settings, sessions) as port, MllpSender(port) as sender:
        sender.send(*(numbered(number) for number in range(300)))
        assert [fields_of(sender.hear())[2] for _ in range(300)] == [f"C{number}" for number in range(300)]
    assert [each.control_id for each in all_of(sessions, InboundMessage)] == [f"C{number}" for number in range(300)]


def test_a_cancelling_never_overtakes_its_order(port: int, sqlite_sessions: Sessions) -> None:
    with MllpSender(port) as sender:
        sender.send(
            order(), order(control="CA", control_id="C2"), order(control_id="C3"), order(control="OC", control_id="C4")
        )
        assert [code_of(sender.hear()) for _ in range(4)] == ["AA"] * 4
    (row,) = all_of(sqlite_sessions, Order)
    assert row.is_cancelled


def test_a_batch_is_answered_message_by_message(port: int) -> None:
    batch = (
        b"FHS|^~\\&\rBHS|^~\\&\r"
        + numbered(1)
        + order(kind="MDM^T02", control_id="C2")
        + numbered(3)
        + b"BTS|3\rFTS|1\r"
    )
    with MllpSender(port) as sender:
        sender.send(batch)
        answers = [sender.hear() for _ in range(3)]
    assert [code_of(each) for each in answers] == ["AA", "AR 200", "AA"]
    assert [fields_of(each)[2] for each in answers] == ["C1", "C2", "C3"]


def test_who_wants_no_answer_gets_none(port: int) -> None:
    with MllpSender(port) as sender:
        sender.send(order(control_id="C1", f15="NE", f16="NE"), order(control_id="C2"))
        assert fields_of(sender.hear())[2] == "C2"


def test_a_message_in_pieces_is_taken(port: int) -> None:
    with MllpSender(port) as sender:
        for byte in frame(order()):
            sender.socket.sendall(bytes([byte]))
        assert code_of(sender.hear()) == "AA"


def test_noise_between_messages_is_dropped(port: int) -> None:
    with MllpSender(port) as sender:
        sender.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" + frame(numbered(1)) + b"\r\n\x1c\r" + frame(numbered(2)))
        assert [code_of(sender.hear()) for _ in range(2)] == ["AA", "AA"]


def test_rubbish_in_a_frame_is_refused_and_the_connection_goes_on(port: int) -> None:
    with MllpSender(port) as sender:
        assert code_of(sender.ask(b"CANARY \xff\xfe\x00")) == "AR 100"
        assert code_of(sender.ask(b"")) == "AR 100"
        assert code_of(sender.ask(order())) == "AA"


def test_who_ends_after_the_last_byte_is_still_answered(port: int) -> None:
    with MllpSender(port) as sender:
        sender.send(order())
        sender.socket.shutdown(socket.SHUT_WR)
        assert code_of(sender.hear()) == "AA"
        assert sender.hear() is None


def test_half_a_message_is_nothing(port: int, sqlite_sessions: Sessions) -> None:
    with MllpSender(port) as sender:
        sender.socket.sendall(frame(order())[:-2])
    with MllpSender(port) as sender:
        assert code_of(sender.ask(numbered(2))) == "AA"
    assert [each.control_id for each in all_of(sqlite_sessions, InboundMessage)] == ["C2"]


@pytest.mark.parametrize("beginning", [b"", b"noise without a message", START_OF_BLOCK, frame(order())[:-2]])
def test_who_keeps_silent_is_hung_up_on(beginning: bytes, settings: Settings, sqlite_sessions: Sessions) -> None:
    with listening(settings, sqlite_sessions, SOON) as port, MllpSender(port) as sender:
        sender.socket.sendall(beginning)
        assert sender.is_closed()


def test_a_message_that_only_trickles_is_given_up(settings: Settings, sqlite_sessions: Sessions) -> None:
    with listening(settings, sqlite_sessions, Limits(message_s=0.5)) as port, MllpSender(port) as sender:
        slowly, is_over = frame(order()), threading.Event()

        def trickle() -> None:
            for byte in slowly * 100:
                try:
                    sender.socket.sendall(bytes([byte]))
                except OSError:
                    return
                if is_over.wait(0.02):
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        assert sender.is_closed()
        is_over.set()
        thread.join(LONG_S)


def test_a_large_message_is_kept(port: int, sqlite_sessions: Sessions) -> None:
    document = "OBX|3|ED|18748-4^Report^LN||^application^pdf^Base64^" + "QUJD" * 5_000_000 + "||||||F\r"
    raw = final() + document.encode()
    with MllpSender(port) as sender:
        assert code_of(sender.ask(raw)) == "AA"
    (row,) = all_of(sqlite_sessions, InboundMessage)
    assert row.raw == raw


def test_a_message_that_is_too_large_is_refused_by_name(port: int, sqlite_sessions: Sessions) -> None:
    before = resident_bytes()
    with MllpSender(port) as sender:
        sender.socket.sendall(START_OF_BLOCK + order(control_id="BIG"))
        piece = b"OBX|1|TX|||" + b"x" * 65_536 + b"\r"
        for _ in range(1024):
            sender.socket.sendall(piece)
        sender.socket.sendall(END_OF_BLOCK)
        answer = sender.hear()
        assert (code_of(answer), fields_of(answer)[2]) == ("AE 102", "BIG")
        assert sender.is_closed()
    assert resident_bytes() - before < 100 * 1024 * 1024
    assert all_of(sqlite_sessions, InboundMessage) == []


def test_all_together_hold_no_more_than_the_limit(settings: Settings, sqlite_sessions: Sessions) -> None:
    limits = Limits(held_bytes=300_000)
    with listening(settings, sqlite_sessions, limits) as port:
        senders = [MllpSender(port) for _ in range(4)]
        for sender in senders[:3]:
            sender.socket.sendall(START_OF_BLOCK + order() + b"x" * 99_000)
        with senders[3] as sender:
            sender.socket.sendall(START_OF_BLOCK + order() + b"x" * 99_000)
            assert code_of(sender.hear()) == "AR 207"
        for sender in senders[:3]:
            sender.socket.close()
        wait_until(lambda: answers_at(port), "there is room again")


def answers_at(port: int) -> bool:
    with suppress(OSError), MllpSender(port) as sender:
        return code_of(sender.ask(order(control_id="AFTER"))) == "AA"
    return False


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_many_connections_cost_no_threads_and_lose_nothing(settings: Settings, sessions: Sessions) -> None:
    with listening(settings, sessions) as port:
        threads = threading.active_count()
        senders = [MllpSender(port) for _ in range(CONNECTIONS)]
        half = frame(order())[:100]
        for sender in senders[::4]:
            sender.socket.sendall(half)
        for number, sender in enumerate(senders):
            if number % 4:
                sender.send(numbered(number))
        assert {code_of(sender.hear()) for number, sender in enumerate(senders) if number % 4} == {"AA"}
        assert threading.active_count() <= threads + 2
        for sender in senders:
            sender.socket.close()
    assert kept(sessions) == CONNECTIONS * 3 // 4


def test_more_connections_than_may_be_are_hung_up_on(settings: Settings, sqlite_sessions: Sessions) -> None:
    with listening(settings, sqlite_sessions, Limits(connections_of_one=2)) as port:
        with MllpSender(port) as first, MllpSender(port) as second:
            assert [code_of(first.ask(numbered(1))), code_of(second.ask(numbered(2)))] == ["AA", "AA"]
            with MllpSender(port) as third:
                assert third.is_closed()
        wait_until(lambda: answers_at(port), "a place is free again")


def test_who_is_not_among_the_senders_is_hung_up_on(settings: Settings, sqlite_sessions: Sessions) -> None:
    elsewhere = Settings(data_dir=settings.data_dir, hl7_senders=["10.1.0.0/16"])
    with listening(elsewhere, sqlite_sessions) as port, MllpSender(port) as sender:
        assert sender.is_closed()
    here = Settings(data_dir=settings.data_dir, hl7_senders=["127.0.0.0/8"])
    with listening(here, sqlite_sessions) as port, MllpSender(port) as sender:
        assert code_of(sender.ask(order())) == "AA"


def test_the_port_ends_when_told_to_with_senders_connected(settings: Settings, sqlite_sessions: Sessions) -> None:
    with listening(settings, sqlite_sessions) as port:
        sender = MllpSender(port)
        sender.socket.sendall(START_OF_BLOCK + b"MSH")
    assert sender.is_closed()
    sender.socket.close()


def test_tls_asks_for_a_certificate_and_no_silent_client_holds_up_others(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    server, client = make_certificates(tmp_path / "ours")
    _, stranger = make_certificates(tmp_path / "theirs", "Another CA")
    secure = Settings(data_dir=settings.data_dir, hl7_tls=server.model_dump())
    with listening(secure, sqlite_sessions) as port, socket.create_connection(("127.0.0.1", port)):
        assert code_of(ask_by_tls(port, client_context(client))) == "AA"
        plain = ssl.create_default_context(cafile=client.ca)
        own = client_context(client.model_copy(update={"certificate": stranger.certificate, "key": stranger.key}))
        for context in (plain, own):
            with pytest.raises(OSError):  # noqa: PT011  a TLS alert or a reset
                ask_by_tls(port, context)


def ask_by_tls(port: int, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(frame(order()))
        answer = secured.recv(65_536)
        if not answer:
            raise ConnectionResetError
        return answer.strip(START_OF_BLOCK + END_OF_BLOCK)


def test_python_hl7_sends_to_us(port: int) -> None:
    with hl7.client.MLLPClient("127.0.0.1", port) as client:
        answer = hl7.parse(client.send_message(order().decode()).strip(b"\x0b\x1c\r").decode())
    assert (str(answer.segment("MSA")(1)), str(answer.segment("MSA")(2))) == ("AA", "C1")


def test_two_libraries_of_node_send_to_us(port: int, sqlite_sessions: Sessions) -> None:
    answers = node_senders(port)
    assert len(answers) == 14
    assert [each for each in answers if not each["ok"]] == []
    assert kept(sqlite_sessions) >= 7


def test_eight_senders_at_once_lose_nothing(settings: Settings, sessions: Sessions) -> None:
    numbers = iter(range(8))
    with listening(settings, sessions) as port:

        def send() -> None:
            own = next(numbers) * 100
            with MllpSender(port) as sender:
                for number in range(own, own + 20):
                    assert code_of(sender.ask(numbered(number))) == "AA"

        in_threads(send, 8)
    assert kept(sessions) == len(all_of(sessions, Order)) == 160


def test_up_plays_the_role_where_a_port_is_set(settings: Settings) -> None:
    assert "hl7" not in roles_of(settings)
    assert "hl7" in roles_of(settings.model_copy(update={"hl7_port": 0}))


def test_without_a_port_the_role_says_what_to_set(settings: Settings) -> None:
    with pytest.raises(Permanent, match="hl7_port is not set"):
        inbound.run(settings, threading.Event())


def test_an_unknown_character_set_is_refused_at_the_start(settings: Settings, sqlite_sessions: Sessions) -> None:
    odd = settings.model_copy(update={"hl7_character_set": "KLINGON", "hl7_port": 0})
    with pytest.raises(Permanent, match="hl7_character_set"):
        inbound.run(odd, threading.Event())
