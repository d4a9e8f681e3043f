"""Senders that are slow, silent, broken or many."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import FrozenClock
from pydantic import SecretStr
from rows import all_of, only
from stored_files import unfinished_files
from stow_peer import LARGE, Answer, SlowSender, body_of, film, serving
from waiting import LONG_S, in_threads, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Instance
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore
from dicom_node.web import server


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


@pytest.fixture
def port(settings: Settings, receiver: Receiver) -> Iterator[int]:
    with serving(settings, receiver) as port:
        yield port


def leftovers(receiver: Receiver) -> list[Path]:
    return unfinished_files(receiver.store.root)


def test_who_hangs_up_leaves_what_was_received_whole_and_nothing_else(port: int, receiver: Receiver) -> None:
    sender = SlowSender(port, body_of(film("1.2.1"), LARGE))
    with sender.socket:
        sender.send(200_000)
        wait_until(lambda: all_of(receiver.sessions, Instance) and leftovers(receiver), "the second part is received")
    wait_until(lambda: not leftovers(receiver), "it is thrown away")
    assert only(receiver.sessions, Instance).sop_instance_uid == "1.2.1"


def test_who_falls_silent_loses_the_place(settings: Settings, receiver: Receiver) -> None:
    impatient = settings.model_copy(update={"network_timeout_s": 0.3, "max_associations": 1})
    with serving(impatient, receiver) as port:
        sender = SlowSender(port, body_of(LARGE))
        with sender.socket:
            sender.send(200_000)
            assert sender.status() == 408
        assert leftovers(receiver) == []
        assert Answer(port, body_of(film())).status == 200


def test_who_asks_for_nothing_is_hung_up_on(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.2)
    monkeypatch.setattr(server, "MOST_SILENT", 2)
    with serving(settings, receiver) as port:
        for words in (b"", b"POST /dicom-web/studies HTTP/1.1\r\nHost:"):
            with socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as silent:
                silent.sendall(words)
                assert closes(silent)


def test_who_opens_connections_without_end_is_hung_up_on(port: int) -> None:
    opened = [socket.create_connection(("127.0.0.1", port), timeout=LONG_S) for _ in range(server.MOST_SILENT + 1)]
    try:
        assert closes(opened[-1])
        opened[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
        assert b"200 OK" in opened[0].recv(4096)
    finally:
        for each in opened:
            each.close()


def closes(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_refused_body_is_not_read_for_ever(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.2)
    guarded = settings.model_copy(update={"stow_clients": {"PACS": SecretStr("s3cret-of-the-pacs!")}})
    with serving(guarded, receiver) as port, pytest.raises(ConnectionError):
        send_for_ever(port)


def send_for_ever(port: int) -> None:
    head = b"POST /dicom-web/studies HTTP/1.1\r\nHost: node\r\nContent-Length: 1000000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as connection:
        connection.sendall(head)
        while True:
            connection.sendall(bytes(65_536))


def test_more_requests_than_there_are_places_are_asked_to_come_again(settings: Settings, receiver: Receiver) -> None:
    small = settings.model_copy(update={"max_associations": 2})
    with serving(small, receiver) as port:
        slow = [SlowSender(port, body_of(LARGE)) for _ in range(2)]
        for each in slow:
            each.send(200_000)
        wait_until(lambda: len(leftovers(receiver)) == 2, "both are being received")
        answer = Answer(port, body_of(film("1.2.3")))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
        for each in slow:
            each.send()
            assert each.status() == 200
            each.socket.close()
        assert Answer(port, body_of(film("1.2.3"))).status == 200


def test_many_store_at_once(port: int, receiver: Receiver) -> None:
    numbers = iter(range(1, 100))
    lock = threading.Lock()

    def send() -> None:
        for _ in range(3):
            with lock:
                uid = f"1.2.{next(numbers)}"
            assert Answer(port, body_of(film(uid))).status == 200

    in_threads(send, 8)
    assert len(all_of(receiver.sessions, Instance)) == 24


def test_a_port_that_is_taken_is_told_by_its_number(settings: Settings) -> None:
    with server.listen(settings) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Permanent, match=f"HTTP port {port} cannot be bound"):
            server.listen(settings.model_copy(update={"http_port": port}))
