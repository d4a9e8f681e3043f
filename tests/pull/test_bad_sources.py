"""Sources that refuse, hang, hang up, send nonsense or half of it: an error in words, and a row that is tried again."""

import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from archives import film, make_puller, uid
from conftest import require_peer
from doubles import NOON, FrozenClock
from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt
from rows import add_study, all_of, moves_of, only
from waiting import LONG_S, free_port

from dicom_node.config import DicomSource, PullRule, Settings, Tls
from dicom_node.database import Sessions
from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable
from dicom_node.lifecycle import begin
from dicom_node.models import Instance, Pull
from dicom_node.pull import query
from dicom_node.pull.association import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, associated, limited
from dicom_node.pull.query import Answer, FoundStudy, find, text_of
from dicom_node.pull.run import Rounds
from dicom_node.receive.header import silence_pydicom
from dicom_node.tls import server_context

VERIFICATION = "1.2.840.10008.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SUCCESS, PENDING, CANCELLED = 0x0000, 0xFF00, 0xFE00
KEYS = {"StudyInstanceUID": "", "StudyDate": "", "NumberOfStudyRelatedInstances": ""}

Handler = Callable[[evt.Event], Any]


@contextmanager
def source_that(
    find: Handler | None = None,
    move: Handler | None = None,
    get: Handler | None = None,
    *,
    request: Handler | None = None,
    services: Sequence[str] = (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET),
    port: int = 0,
    server_tls: Tls | None = None,
    **settings: Any,
) -> Iterator[DicomSource]:
    """A PACS by pynetdicom that does what the handlers do."""
    ae = AE("BADPACS")
    for service in services:
        ae.add_supported_context(service)
    ae.add_supported_context(DX, scu_role=True, scp_role=True)
    events = {evt.EVT_C_FIND: find, evt.EVT_C_MOVE: move, evt.EVT_C_GET: get, evt.EVT_REQUESTED: request}
    handlers = [(event, handler) for event, handler in events.items() if handler]
    connections: list[socket.socket] = []
    handlers.append((evt.EVT_CONN_OPEN, lambda event: connections.append(event.assoc.dul.socket.socket)))
    context = server_context(server_tls) if server_tls else None
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=context)
    assert server is not None
    try:
        at = {"host": "127.0.0.1", "port": server.server_address[1], "timeout_s": LONG_S}
        yield DicomSource(**{"name": "pacs", "ae_title": "BADPACS", **at, **settings})
    finally:
        for assoc in ae.active_associations:
            assoc.join(LONG_S)
        server.shutdown()
        for connection in connections:  # pynetdicom forgets those that the other end broke off
            connection.close()


def ask(source: DicomSource) -> list[Answer]:
    with associated(source, None, calling_ae="CXRNODE") as assoc:  # type: ignore[arg-type]  # nothing is stored
        return find(assoc, source, "STUDY", KEYS)


def study(name: str, **elements: Any) -> Dataset:
    ds = Dataset()
    with config.disable_value_validation():
        for keyword, value in {"StudyInstanceUID": uid(name), "StudyDate": "20260301", **elements}.items():
            setattr(ds, keyword, value)
    return ds


def answers(*identifiers: Dataset, status: int = SUCCESS) -> Handler:
    def on_find(_: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from ((PENDING, each) for each in identifiers)
        yield status, None

    return on_find


def aborts(event: evt.Event) -> Iterator[Any]:
    event.assoc.abort()
    yield SUCCESS, None


def rejects(event: evt.Event) -> None:
    event.assoc.acse.send_reject(1, 1, 3)
    event.assoc.is_rejected = True
    event.assoc.kill()


# Queries


def test_answers_are_what_was_asked_for_as_text() -> None:
    with source_that(answers(study("one", NumberOfStudyRelatedInstances=3), study("two"))) as source:
        assert ask(source) == [
            {"StudyInstanceUID": uid("one"), "StudyDate": "20260301", "NumberOfStudyRelatedInstances": "3"},
            {"StudyInstanceUID": uid("two"), "StudyDate": "20260301", "NumberOfStudyRelatedInstances": ""},
        ]


def test_no_value_of_an_answer_is_logged_whatever_is_wrong_with_it() -> None:
    """The guard looks for CANARY in every test's log; pydicom logs a UID that is none."""
    name = b"CANARY^PHI"
    ds = read_dataset(BytesIO(b"\x20\0\x0d\0UI" + struct.pack("<H", len(name)) + name), False, True)
    assert text_of(ds, "StudyInstanceUID") == "CANARY^PHI"


@pytest.mark.parametrize(
    ("charset", "value", "text"),
    [
        ("ISO_IR 100", b"M\xfcller\\b ", "Müller\\b"),
        ("ISO_IR 192", "Müller".encode(), "Müller"),
        ("NONSENSE", b"a", "a"),
    ],
)
def test_values_are_read_in_their_character_set(charset: str, value: bytes, text: str) -> None:
    silence_pydicom()
    encoded = charset.encode() + b" " * (len(charset) % 2)
    part = b"\x08\0\x05\0CS" + struct.pack("<H", len(encoded)) + encoded
    part += b"\x10\0\x20\0LO" + struct.pack("<H", len(value)) + value
    assert text_of(read_dataset(BytesIO(part), False, True), "PatientID") == text


@pytest.mark.parametrize(
    ("double", "error", "words"),
    [
        ({"request": rejects}, PeerUnreachable, "BADPACS rejected the association"),
        ({"services": [VERIFICATION]}, PeerRejected, "BADPACS offers neither query nor retrieval"),
        ({"services": [STUDY_ROOT_MOVE]}, PeerRejected, r"BADPACS does not offer C-FIND \(Study Root\)"),
        ({"find": aborts}, PeerUnreachable, "did not answer the query in time, or ended the association"),
        ({"find": answers(status=0xA700)}, PeerBusy, "BADPACS answered the query with status A700"),
        ({"find": answers(study("one"), status=0xC001)}, PeerBusy, "status C001"),
    ],
    ids=["rejects", "offers nothing", "offers no query", "aborts", "is full", "breaks down"],
)
def test_a_source_that_does_not_answer_is_an_error_in_words(
    double: dict[str, Any], error: type[Exception], words: str
) -> None:
    with source_that(**double) as source, pytest.raises(error, match=words):
        ask(source)


@contextmanager
def listener(then: Callable[[socket.socket], object]) -> Iterator[DicomSource]:
    """What listens there is no PACS. Each connection is handed to `then`, and stays open until the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept() -> None:
            connection, _ = server.accept()
            kept.append(connection)
            then(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        at = {"host": "127.0.0.1", "port": server.getsockname()[1], "timeout_s": 0.3}
        yield DicomSource(name="pacs", ae_title="BADPACS", **at)
        thread.join(LONG_S)
        for each in kept:
            each.close()


def drip(connection: socket.socket) -> None:
    """A PDU that comes byte by byte, each in good time."""
    connection.sendall(b"\x02\x00\x00\x00\xff\x00")
    pause = threading.Event()
    with suppress(OSError):
        while True:
            connection.sendall(b"\0")
            pause.wait(0.1)


@pytest.mark.parametrize(
    "then",
    [
        lambda connection: None,
        lambda connection: connection.close(),
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda connection: connection.sendall(b"\x02\x00\xff\xff\xff\xff" + bytes(100)),
        lambda connection: connection.sendall(b"\x02\x00\x00\x00\x01\x00" + bytes(100)),
        drip,
    ],
    ids=["silent", "hangs up", "speaks HTTP", "claims 4 GB", "sends half a PDU", "drips"],
)
def test_what_listens_and_is_no_pacs_is_unreachable(then: Callable[[socket.socket], object]) -> None:
    with listener(then) as source, pytest.raises(PeerUnreachable, match="cannot be reached, or ended the association"):
        ask(source)


@pytest.mark.parametrize("host", ["127.0.0.1", "host.invalid"])
def test_where_nobody_listens_is_unreachable(host: str) -> None:
    source = DicomSource(name="pacs", ae_title="BADPACS", host=host, port=free_port(), timeout_s=LONG_S)
    with pytest.raises(PeerUnreachable, match="BADPACS cannot be reached"):
        ask(source)


def test_a_source_that_hangs_is_left_after_its_time_out() -> None:
    go_on = threading.Event()

    def hangs(_: evt.Event) -> Iterator[Any]:
        go_on.wait(LONG_S)
        yield SUCCESS, None

    with source_that(hangs, timeout_s=2.0) as source:
        with pytest.raises(PeerUnreachable, match="did not answer the query in time"):
            ask(source)
        go_on.set()


def test_a_source_without_end_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def endless(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        while not event.is_cancelled:
            yield PENDING, study("one")
        yield CANCELLED, None

    monkeypatch.setattr(query, "_MOST_ANSWERS", 20)  # 5000 take a pynetdicom more than a minute
    with source_that(endless) as source, associated(source, None, calling_ae="CXRNODE") as assoc:  # type: ignore[arg-type]
        assert len(find(assoc, source, "STUDY", KEYS)) == 20
        assert find(assoc, source, "STUDY", KEYS)  # the association goes on
    assert '"event": "query_cut_short"' in caplog.text


def test_a_source_that_goes_on_whatever_it_is_told_is_hung_up_on() -> None:
    stop = threading.Event()

    def endless(_: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        while not stop.is_set():
            yield PENDING, study("one")
        yield SUCCESS, None

    endless_source = source_that(endless, timeout_s=3.0)
    with endless_source as source, associated(source, None, calling_ae="CXRNODE") as assoc:  # type: ignore[arg-type]
        with limited(assoc, 0.5), pytest.raises(PeerUnreachable):
            find(assoc, source, "STUDY", KEYS)
        stop.set()


def test_nonsense_among_the_answers_is_passed_over(settings: Settings, sqlite_sessions: Sessions) -> None:
    nonsense = [
        study("no uid", StudyInstanceUID="not a UID"),
        study("long uid", StudyInstanceUID="1" * 65),
        study("no date", StudyDate="yesterday"),
        study("no count", NumberOfStudyRelatedInstances=-5),
        study("great number", NumberOfStudyRelatedInstances="9" * 12),
        study("several", StudyInstanceUID=["1.2", "1.3"]),
        Dataset(),
    ]
    for each in nonsense:
        each.ModalitiesInStudy = ["DX", "SR"]
    with source_that(answers(*nonsense), rules=(PullRule(modalities=("DX",)),)) as source:
        assert make_puller(settings, sqlite_sessions, source, FrozenClock()).poll() == 2
    pulls = {pull.study_instance_uid: pull.instance_count for pull in all_of(sqlite_sessions, Pull)}
    assert pulls == {uid("no count"): 0, uid("great number"): 0}


def test_a_study_that_does_not_match_is_not_pulled_though_the_source_says_so(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    studies = [
        study("old", StudyDate="20200101", ModalitiesInStudy="DX", StationName="CHEST1"),
        study("other", ModalitiesInStudy="CT", StationName="CHEST1"),
        study("elsewhere", ModalitiesInStudy="DX", StationName="HAND1"),
        study("silent", ModalitiesInStudy="DX"),
        study("wanted", ModalitiesInStudy="DX", StationName="CHEST1"),
    ]
    rule = PullRule(modalities=("DX",), match={"StationName": "CHEST*"})
    with source_that(answers(*studies), rules=(rule,)) as source:
        assert make_puller(settings, sqlite_sessions, source, FrozenClock()).poll() == 1
    assert only(sqlite_sessions, Pull).study_instance_uid == uid("wanted")


# Retrieval


def pulled(settings: Settings, sessions: Sessions, source: DicomSource) -> Pull:
    return make_puller(settings, sessions, source, FrozenClock()).pull_now(FoundStudy(uid("today")))


def gets(*objects: bytes, then: Callable[[evt.Event], object] = lambda event: None) -> Handler:
    """Sends the objects by C-GET; `then` is called before the last."""

    def on_get(event: evt.Event) -> Iterator[Any]:
        yield len(objects)
        for number, each in enumerate(objects):
            if number == len(objects) - 1:
                then(event)
            yield PENDING, dcmread(DicomBytesIO(each))

    return on_get


ONE, OTHER = film("today", "one"), film("today", "two")


def test_objects_that_cannot_be_understood_are_counted(settings: Settings, sqlite_sessions: Sessions) -> None:
    broken = film("today", "broken", SeriesInstanceUID=None)
    with source_that(get=gets(ONE, broken, OTHER), retrieve="get") as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert pull.state == "pending"
    assert "BADPACS sent 2 of 3 objects, 1 failed" in pull.reason
    assert len(all_of(sqlite_sessions, Instance)) == 2


def test_what_came_before_the_source_hung_up_is_kept_and_the_rest_is_tried_again(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    with source_that(get=gets(ONE, OTHER, then=lambda event: event.assoc.abort()), retrieve="get") as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert pull.state == "pending"
    assert "BADPACS did not answer in time, or ended the association" in pull.reason
    assert only(sqlite_sessions, Instance).id
    with source_that(get=gets(ONE, OTHER), retrieve="get") as source:
        assert pulled(settings, sqlite_sessions, source).state == "done"
    assert len(all_of(sqlite_sessions, Instance)) == 2


def test_a_source_that_never_ends_a_retrieval_is_left_after_its_time_out(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    go_on = threading.Event()
    hangs = gets(ONE, OTHER, then=lambda event: go_on.wait(LONG_S))
    with source_that(get=hangs, retrieve="get", timeout_s=3.0) as source:
        pull = pulled(settings, sqlite_sessions, source)
        go_on.set()
    assert (pull.state, pull.attempts) == ("pending", 1)
    assert only(sqlite_sessions, Instance).id


def test_a_source_that_offers_no_retrieval_fails_for_a_person(settings: Settings, sqlite_sessions: Sessions) -> None:
    with source_that(services=[STUDY_ROOT_FIND]) as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert (pull.state, pull.reason) == ("failed", "BADPACS does not offer C-MOVE (Study Root)")


def test_a_source_that_does_not_know_this_node_says_so(settings: Settings, sqlite_sessions: Sessions) -> None:
    def does_not_know(_: evt.Event) -> Iterator[Any]:
        yield None, None

    with source_that(move=does_not_know) as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert "BADPACS does not know the move destination CXRNODE (status A801)" in pull.reason


@pytest.mark.parametrize("status", [0xA702, 0xFE00])
def test_a_retrieval_that_fails_is_tried_again_later_and_ends_as_failed(
    status: int, settings: Settings, sqlite_sessions: Sessions
) -> None:
    def fails(_: evt.Event) -> Iterator[Any]:
        yield 1
        yield status, None

    clock = FrozenClock()
    with source_that(get=fails, retrieve="get") as source:
        puller = make_puller(settings, sqlite_sessions, source, clock)
        pull = puller.pull_now(FoundStudy(uid("today")))
        waits = []
        while pull.state == "pending":
            waits.append((pull.due_at - clock.now).total_seconds())
            clock.now = pull.due_at
            assert puller.pull_due()
            pull = only(sqlite_sessions, Pull)
    assert waits[:4] == [10, 20, 40, 80]
    assert (pull.state, pull.attempts) == ("failed", 10)
    assert pull.reason.endswith("gave up after 10 attempts")


def test_a_fault_of_this_program_fails_for_a_person(settings: Settings, sqlite_sessions: Sessions) -> None:
    """There is no draft to compare with, which cannot be."""
    with sqlite_sessions.begin() as session:
        prior_of = add_study(session).id
        begin(session, Pull(source="pacs", prior_of=prior_of, due_at=NOON, created_at=NOON), NOON, "to compare")
    with source_that() as source:
        assert make_puller(settings, sqlite_sessions, source, FrozenClock()).pull_due()
    pull = only(sqlite_sessions, Pull)
    assert (pull.state, pull.reason) == ("failed", "unexpected NoResultFound: see the log")


# TLS


def test_a_source_is_asked_over_tls_and_a_stranger_is_not(tmp_path: Path) -> None:
    require_peer("openssl")
    for name in ("ours", "theirs"):
        subprocess.run([shared_tool("make_certs.sh"), tmp_path / name], check=True, timeout=60)
    tls = {
        f"{name} {who}": Tls(
            certificate=tmp_path / name / f"{who}.pem",
            key=tmp_path / name / f"{who}.key",
            ca=tmp_path / name / "ca.pem",
        )
        for name in ("ours", "theirs")
        for who in ("srv", "cli")
    }
    with source_that(answers(study("one")), server_tls=tls["ours srv"]) as source:
        assert ask(source.model_copy(update={"tls": tls["ours cli"]}))
        with pytest.raises(PeerUnreachable):
            ask(source.model_copy(update={"tls": tls["theirs cli"]}))
        missing = Tls(certificate=tmp_path / "none", key=tmp_path / "none", ca=tmp_path / "none")
        with pytest.raises(PeerUnreachable, match="No such file"):
            ask(source.model_copy(update={"tls": missing}))


def shared_tool(name: str) -> Path:
    path = Path(__file__).resolve().parents[3] / "shared" / "tools" / "dcmtk_peers" / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


# A source that is away


def test_no_row_is_touched_while_the_source_is_away(settings: Settings, sqlite_sessions: Sessions) -> None:
    port, time = free_port(), [0.0]
    rule = PullRule(modalities=("DX",))
    listing = answers(study("today", ModalitiesInStudy="DX", NumberOfStudyRelatedInstances=1))
    with source_that(listing, port=port, rules=(rule,), retrieve="get", poll_s=60) as source:
        puller = make_puller(settings, sqlite_sessions, source, FrozenClock())
        assert puller.poll() == 1
    rounds = Rounds(puller, timer=lambda: time[0])
    before = moves_of(sqlite_sessions, "pull")
    for time[0] in (0.0, 1.0, 59.0, 60.0):
        assert not rounds()
    assert moves_of(sqlite_sessions, "pull") == before == [("", "pending")]
    with source_that(listing, get=gets(ONE), port=port):
        time[0] = 61.0
        assert not rounds()  # it rests
        time[0] = 120.0
        assert rounds()
    assert only(sqlite_sessions, Pull).state == "done"


def test_a_study_that_has_grown_is_pulled_again(settings: Settings, sqlite_sessions: Sessions) -> None:
    port, rule = free_port(), PullRule(modalities=("DX",))
    with source_that(port=port, rules=(rule,), retrieve="get") as source:
        puller = make_puller(settings, sqlite_sessions, source, FrozenClock())
    for objects in ([ONE], [ONE, OTHER], [ONE, OTHER]):
        listing = answers(study("today", ModalitiesInStudy="DX", NumberOfStudyRelatedInstances=len(objects)))
        with source_that(listing, get=gets(*objects), port=port):
            puller.poll()
            while puller.pull_due():
                pass
    assert [new for _, new in moves_of(sqlite_sessions, "pull")] == ["pending", "pulling", "done"] * 2
    assert len(all_of(sqlite_sessions, Instance)) == 2
