"""What the fast path does with peers that are slow, broken, hostile or many."""

import os
import random
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from doubles import FrozenClock
from films import dx_bytes, gradient, make_dx
from foreign import require_peer
from pydicom import dcmread
from raw_peer import (
    ABORTED,
    ACCEPTED,
    DATA,
    REJECTED,
    RELEASE,
    RELEASED,
    RawPeer,
    association_request,
    cancel,
    echo,
    event_report,
    item,
    pdu,
)
from raw_peer import store as store_pdus
from rows import all_of, only
from stored_files import unfinished_files
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.peers import Tls
from dicom_node.receive import event_report as event_report_module
from dicom_node.receive import listener, scp, upper_layer
from dicom_node.receive.association import FastAssociation
from dicom_node.receive.intake import SUCCESS, Receiver
from dicom_node.receive.listener import Listener, bound_port
from dicom_node.receive.pdus import PduBuffer
from dicom_node.storage import InstanceStore

FILM = dx_bytes(gradient(500, 400))
TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools" / "dcmtk_peers"


def _data_set(part10: bytes) -> bytes:
    return part10[part10.index(b"\x08\0\x16\0UI") :]


def _pdu_before(cut: int) -> int:
    """Where the last whole PDU of STORE before the cut ends."""
    at = 0
    while (end := at + 6 + int.from_bytes(STORE[at + 2 : at + 6], "big")) <= cut:
        at = end
    return at


DATA_SET = _data_set(FILM)
UID = str(make_dx().SOPInstanceUID)
STORE = store_pdus(UID, DATA_SET)


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


@contextmanager
def listening(settings: Settings, receiver: Receiver) -> Iterator[Listener]:
    server = scp.start_server(settings, receiver)
    try:
        yield server
    finally:
        server.shutdown()
        wait_until(lambda: not server.active_associations, "all associations end")


@pytest.fixture
def port(settings: Settings, receiver: Receiver) -> Iterator[int]:
    with listening(settings, receiver) as server:
        yield bound_port(server)


@contextmanager
def associated(port: int) -> Iterator[RawPeer]:
    with RawPeer(port) as peer:
        assert peer.associate() == ACCEPTED
        yield peer


def parts(receiver: Receiver) -> list[Path]:
    return unfinished_files(receiver.store.root)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(("pdu_bytes", "values"), [(16_384, 1), (131_072, 1), (16_384, 40), (64, 2)])
def test_every_way_of_cutting_an_object_gives_the_same_file(
    pdu_bytes: int, values: int, port: int, receiver: Receiver
) -> None:
    chance = random.Random(pdu_bytes)
    stream = store_pdus(UID, DATA_SET, pdu_bytes=pdu_bytes, values=values)
    with associated(port) as peer:
        at = 0
        while at < len(stream):
            step = chance.choice([1, 5, 700, 20_000, 200_000])
            peer.send(stream[at : at + step])
            at += step
        assert peer.status() == SUCCESS
    instance = only(receiver.sessions, Instance)
    assert instance.size_bytes == len(DATA_SET)
    kept = receiver.store.open(instance.path).read_bytes()
    assert kept.endswith(DATA_SET)
    assert dcmread(receiver.store.open(instance.path)).file_meta.MediaStorageSOPInstanceUID == UID
    assert parts(receiver) == []


def test_who_pauses_gives_memory_back_and_goes_on(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[PduBuffer] = []
    shrink = PduBuffer.shrink

    def give_back(buffer: PduBuffer) -> None:
        shrink(buffer)
        given_back.append(buffer)

    monkeypatch.setattr(PduBuffer, "shrink", give_back)
    monkeypatch.setattr(upper_layer, "_QUIET_S", 0.01)
    with listening(settings, receiver) as server, associated(bound_port(server)) as peer:
        peer.send(STORE[:200_000])
        wait_until(lambda: given_back, "in the middle of an object")
        peer.send(STORE[200_000:])
        assert peer.status() == SUCCESS
        wait_until(lambda: not given_back[0].may_shrink, "and after it")
    instance = only(receiver.sessions, Instance)
    assert receiver.store.open(instance.path).read_bytes().endswith(DATA_SET)


def test_a_request_that_cannot_be_negotiated_is_aborted(settings: Settings, receiver: Receiver) -> None:
    """A presentation context without transfer syntax (PS3.8 9.3.2.2), on which pynetdicom raises."""
    nothing_offered = item(0x20, bytes([5, 0, 0, 0]) + item(0x30, UID.encode()))
    request = association_request("MODALITY")
    with listening(settings, receiver) as server, RawPeer(bound_port(server)) as peer:
        peer.send(pdu(0x01, request[6:] + nothing_offered))
        assert peer.answer()[0] == ABORTED
        wait_until(lambda: not server.active_associations, "its threads end")


@pytest.mark.parametrize(
    "requests",
    [
        b"".join(map(cancel, range(11))),  # pynetdicom keeps ten, and raises on what it does with more
        event_report(context=9) + b"\x04\0\x7f\xff\xff\0" + bytes(2_000_000),  # two reasons at once, and no end
    ],
    ids=["cancelled too often", "two faults"],
)
def test_who_makes_pynetdicom_fail_is_aborted_once(requests: bytes, settings: Settings, receiver: Receiver) -> None:
    with listening(settings, receiver) as server, associated(bound_port(server)) as peer:
        with suppress(OSError):
            peer.send(requests)
        answers = [kind for kind, _ in iter(peer.answer, (0, b""))]
        # Where bytes are left unread, a reset may overtake what was sent.
        assert answers == [ABORTED] or (not answers and len(requests) > 1_000_000)
        wait_until(lambda: not server.active_associations, "its threads end")


@pytest.mark.parametrize("request_pdu", [echo(), event_report()], ids=["C-ECHO", "N-EVENT-REPORT"])
def test_who_asks_without_end_is_aborted(
    request_pdu: bytes, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request at a time is what was negotiated; the others would be kept, and a thread for each report."""
    monkeypatch.setattr(FastAssociation, "_serve", lambda _: None)  # so slow are we
    with listening(settings, receiver) as server, associated(bound_port(server)) as peer:
        peer.send(8 * request_pdu)
        waiting = server.active_associations[0].dimse.msg_queue
        wait_until(lambda: waiting.qsize() == 8, "they wait for their turn")
        peer.send(request_pdu)
        assert peer.answer()[0] == ABORTED
        assert waiting.qsize() == 8


def test_who_pauses_within_an_object_has_not_fallen_silent(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_report_module, "_LONGEST_WAIT_FOR_SILENCE_S", 3 * event_report_module.SILENCE_S)
    with listening(settings, receiver) as server, associated(bound_port(server)) as peer:
        assoc = server.active_associations[0]
        peer.send(STORE[:-1000])
        wait_until(lambda: assoc.dul.has_message_under_way, "the object has begun")
        assert not event_report_module.falls_silent(assoc, threading.Event())
        peer.send(STORE[-1000:])
        assert peer.status() == SUCCESS
        monkeypatch.setattr(event_report_module, "_LONGEST_WAIT_FOR_SILENCE_S", LONG_S)
        assert event_report_module.falls_silent(assoc, threading.Event())


def test_services_take_turns_on_one_association(port: int, receiver: Receiver) -> None:
    with associated(port) as peer:
        for message in (echo(), STORE, echo(), STORE):
            peer.send(message)
            assert peer.status() == SUCCESS
        peer.send(RELEASE)
        assert peer.answer()[0] == RELEASED
        assert peer.answer()[0] == 0
    assert only(receiver.sessions, Instance).id


def test_requests_that_do_not_wait_for_answers_are_answered_in_turn(port: int) -> None:
    with associated(port) as peer:
        peer.send(STORE + STORE + STORE)
        assert [peer.status() for _ in range(3)] == [SUCCESS] * 3


@pytest.mark.parametrize("way", ["reset", "close", "abort"])
def test_an_object_that_breaks_off_anywhere_leaves_nothing(way: str, port: int, receiver: Receiver) -> None:
    before = descriptors()
    cuts = [*range(0, 300, 37), *range(300, len(STORE), len(STORE) // 12), len(STORE) - 1]
    for cut in cuts:
        with associated(port) as peer:
            peer.send(STORE[: _pdu_before(cut) if way == "abort" else cut])
            if way == "abort":
                peer.send(pdu(ABORTED, bytes(4)))
            if way == "reset":
                peer.reset()
    wait_until(lambda: parts(receiver) == [] and descriptors() <= before, "nothing is left")
    assert all_of(receiver.sessions, Instance) == []
    with associated(port) as peer:
        peer.send(STORE)
        assert peer.status() == SUCCESS


@pytest.mark.parametrize(
    "bad",
    [
        b"\x04\0\x7f\xff\xff\0" + bytes(100),
        b"\x05\0\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        pdu(DATA, b"\0\0\0\x01\x01\x03"),
        pdu(DATA, b"\xff\xff\xff\xff\x01\x03"),
        pdu(DATA, b"\0\0\0\x04\x01\x00ab"),  # data without a command
        pdu(DATA, b"\0\0\0\x04\x01\x03ab"),  # no command set
        STORE.replace(b"\0\0\0", b"\0\0\xff", 1),
        pdu(0x01, b"nonsense"),
    ],
)
def test_who_breaks_the_protocol_is_aborted_at_once(bad: bytes, port: int, receiver: Receiver) -> None:
    with associated(port) as peer:
        peer.send(bad)
        assert peer.answer()[0] in (ABORTED, 0)  # 0: the abort is lost when bytes were left unread
        assert peer.answer()[0] == 0
    with associated(port) as peer:
        peer.send(echo())
        assert peer.status() == SUCCESS
    assert parts(receiver) == []


@pytest.mark.parametrize(
    ("said", "is_associated"),
    [(b"", False), (association_request("X")[:50], False), (b"\x01\0\0\x03\0\0", False), (STORE[:20_000], True)],
    ids=["nothing", "half a request", "200 kB announced", "half an object"],
)
def test_who_falls_silent_is_hung_up_on(
    said: bytes, is_associated: bool, settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scp, "ACSE_TIMEOUT_S", LONG_S if is_associated else 0.3)
    impatient = settings.model_copy(update={"network_timeout_s": 0.3})
    with listening(impatient, receiver) as server, RawPeer(bound_port(server)) as peer:
        if is_associated:
            assert peer.associate() == ACCEPTED
        peer.send(said)
        assert peer.answer()[0] in (ABORTED, 0)
        wait_until(lambda: not server.active_associations, "its threads end")
    assert parts(receiver) == []


@pytest.mark.parametrize("piece_bytes", [1, 30], ids=["bytes", "whole PDUs that never end the message"])
def test_who_sends_next_to_nothing_is_hung_up_on(piece_bytes: int, settings: Settings, receiver: Receiver) -> None:
    impatient = settings.model_copy(update={"network_timeout_s": 0.5})
    talk = store_pdus("1.2.3", bytes(200_000), pdu_bytes=30) if piece_bytes > 1 else STORE
    with listening(impatient, receiver) as server, associated(bound_port(server)) as peer:
        ended = threading.Event()
        speaker = threading.Thread(target=_trickle, args=(peer, talk, piece_bytes, ended))
        speaker.start()
        assert peer.answer()[0] in (ABORTED, 0)
        ended.set()
        speaker.join(LONG_S)
        wait_until(lambda: not server.active_associations, "its threads end")
    assert parts(receiver) == []


def _trickle(peer: RawPeer, talk: bytes, piece_bytes: int, ended: threading.Event) -> None:
    with suppress(OSError):
        for at in range(0, len(talk), piece_bytes):
            peer.send(talk[at : at + piece_bytes])
            if ended.wait(0.02):
                return


def test_who_hangs_up_without_asking_leaves_no_thread(settings: Settings, receiver: Receiver) -> None:
    with listening(settings, receiver) as server:
        for _ in range(20):
            RawPeer(bound_port(server)).socket.close()
        wait_until(lambda: not server.active_associations, "the threads end")


def test_silent_connections_take_no_place_from_others(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MOST_SILENT", 10)
    narrow = settings.model_copy(update={"max_associations": 2})
    with listening(narrow, receiver) as server, ExitStack() as silent:
        port = bound_port(server)
        for number in range(10):
            silent.enter_context(RawPeer(port, source="127.0.0.2"))
            wait_until(lambda count=number + 1: len(server.active_associations) == count, "it is accepted")  # type: ignore[misc]
        with RawPeer(port, source="127.0.0.2") as one_more:
            assert one_more.answer()[0] == 0
        with associated(port) as peer, associated(port):
            peer.send(STORE)
            assert peer.status() == SUCCESS


def test_one_sender_leaves_places_for_others(settings: Settings, receiver: Receiver) -> None:
    narrow = settings.model_copy(update={"max_associations": 3, "max_associations_per_peer": 2})
    with listening(narrow, receiver) as server, associated(bound_port(server)), associated(bound_port(server)):
        with RawPeer(bound_port(server)) as third:
            assert third.associate() == REJECTED
        wait_until(lambda: len(server.callers()) == 2, "who was rejected has no place any more")
        with RawPeer(bound_port(server), calling="OTHER") as other:
            assert other.associate() == ACCEPTED


def test_descriptors_beyond_1024_are_served(port: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with ExitStack() as held:
        for _ in range(1100):
            held.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        with associated(port) as peer:
            peer.send(STORE)
            assert peer.status() == SUCCESS
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_eight_senders_at_once_lose_nothing(port: int, receiver: Receiver) -> None:
    statuses: list[int] = []

    def send(number: int) -> None:
        with associated(port) as peer:
            for each in range(5):
                uid = f"1.2.{number}.{each}"
                peer.send(store_pdus(uid, _data_set(dx_bytes(SOPInstanceUID=uid))))
                statuses.append(peer.status())

    senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(LONG_S)
    assert statuses == [SUCCESS] * 40
    rows = all_of(receiver.sessions, Instance)
    assert len({row.sop_instance_uid for row in rows}) == 40
    for row in rows:
        content = receiver.store.open(row.path).read_bytes()
        assert dcmread(BytesIO(content)).SOPInstanceUID == row.sop_instance_uid
        assert len(_data_set(content)) == row.size_bytes


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_dcmtk_stores_over_tls(path: str, settings: Settings, receiver: Receiver, tmp_path: Path) -> None:
    storescu = require_peer("storescu")
    require_peer("openssl")
    if not TOOLS.exists():
        pytest.skip(f"{TOOLS} is absent")
    subprocess.run([TOOLS / "make_certs.sh", tmp_path], check=True, timeout=60)
    ours = Tls(certificate=tmp_path / "srv.pem", key=tmp_path / "srv.key", ca=tmp_path / "ca.pem")
    film = tmp_path / "film.dcm"
    film.write_bytes(dx_bytes(gradient(2000, 1000)))
    tls = ["+tls", tmp_path / "cli.key", tmp_path / "cli.pem", "+cf", tmp_path / "ca.pem"]
    secure = settings.model_copy(update={"tls": ours, "receive_path": path})
    with listening(secure, receiver) as server:
        command = [storescu, *tls, "-aec", "CXRNODE", "127.0.0.1", str(bound_port(server)), film]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    stored = receiver.store.open(only(receiver.sessions, Instance).path)
    assert dcmread(stored).PixelData == dcmread(film).PixelData
