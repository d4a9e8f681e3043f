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
from archives import make_puller, uid
from doubles import FrozenClock
from foreign import require_peer
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt
from rows import all_of, only
from waiting import LONG_S, free_port, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable
from dicom_node.models import Pull
from dicom_node.peers import DicomSource, PullRule, Tls
from dicom_node.pull import query
from dicom_node.pull.association import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, associated, limited
from dicom_node.pull.query import Answer, find, text_of
from dicom_node.pydicom_faults import silence_pydicom
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
    with associated(source, None, trail=None, calling_ae="CXRNODE") as assoc:  # type: ignore[arg-type]  # nothing is stored
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
    with (
        listener(then) as source,
        pytest.raises(PeerUnreachable, match="did not answer the request for an assoc"),
    ):
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
            # pynetdicom hears of the cancel when it has sent all it was given: on a busy machine, never.
            wait_until(event.assoc.dul.to_provider_queue.empty, "the answer is sent")
        yield CANCELLED, None

    monkeypatch.setattr(query, "MOST_ANSWERS", 20)  # 5000 take a pynetdicom more than a minute
    with source_that(endless) as source, associated(source, None, trail=None, calling_ae="CXRNODE") as assoc:  # type: ignore[arg-type]
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
    with endless_source as source, associated(source, None, trail=None, calling_ae="CXRNODE") as assoc:  # type: ignore[arg-type]
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
