"""What a C-STORE answers, over a real socket, and what is safe when it does."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from doubles import NOON, FrozenClock
from films import code_sequence, dx_bytes, make_dx
from foreign import require_peer
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from rows import all_of, only
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from stored_files import unfinished_files, whole_files
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import StorageFull
from dicom_node.models import Instance, Study
from dicom_node.peers import Tls
from dicom_node.receive.intake import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    OUT_OF_RESOURCES,
    SUCCESS,
    UNEXPECTED,
    Receiver,
)
from dicom_node.receive.listener import bound_port
from dicom_node.receive.scp import VERIFICATION, look_over_files, start_server
from dicom_node.requestor import Requestor
from dicom_node.storage import InstanceStore, StoredFile, Unfinished

DX = "1.2.840.10008.5.1.4.1.1.1.1"
PRIVATE = "1.2.276.0.7230010.3.1.0.1"
TOOLS = Path(__file__).resolve().parents[3] / "shared" / "tools" / "dcmtk_peers"


@contextmanager
def listening(settings: Settings, receiver: Receiver) -> Iterator[int]:
    server = start_server(settings, receiver)
    try:
        yield bound_port(server)
    finally:
        server.shutdown()


@pytest.fixture(params=["fast", "plain"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Each way of receiving in turn."""
    return settings.model_copy(update={"receive_path": request.param})


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


@pytest.fixture
def port(settings: Settings, receiver: Receiver) -> Iterator[int]:
    with listening(settings, receiver) as port:
        yield port


@contextmanager
def associated(port: int, *contexts: str, called: str = "CXRNODE", calling: str = "MODALITY") -> Iterator[Association]:
    ae = Requestor(calling, timeout_s=LONG_S)  # hears a rejection also of who hangs up at once
    ae.network_timeout = LONG_S
    for context in contexts or (DX, VERIFICATION):
        ae.add_requested_context(context, [ExplicitVRLittleEndian])
    assoc = ae.associate("127.0.0.1", port, ae_title=called)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def store(port: int, ds: FileDataset | None = None) -> int:
    ds = ds or make_dx()
    with associated(port, ds.SOPClassUID) as assoc:
        return int(assoc.send_c_store(ds).Status)


def store_raw(port: int, data_set: bytes, sop_class: str = DX, sop_instance: str = "1.2.3") -> int:
    """C-STORE of any bytes under any announcement."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = BytesIO(data_set)
    with associated(port, sop_class) as assoc:
        assoc._reactor_checkpoint.clear()  # as pynetdicom's send_c_store: or its thread takes the answer
        wait_until(lambda: assoc._is_paused, "the association's thread pauses")
        assoc.dimse.send_msg(request, assoc.accepted_contexts[0].context_id)
        _, response = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        return int(response.Status)


def data_set_of(part10: bytes) -> bytes:
    """What follows the file meta information (PS3.10 7.1)."""
    file = BytesIO(part10)
    read_preamble(file, force=False)
    _read_file_meta_info(file)
    return file.read()


def test_an_echo_is_answered(port: int) -> None:
    with associated(port, VERIFICATION) as assoc:
        assert assoc.send_c_echo().Status == SUCCESS


def test_a_stored_object_is_a_row_and_a_file_when_success_is_answered(
    settings: Settings, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(engine), FrozenClock())
    with listening(settings, receiver) as port:
        assert store(port) == SUCCESS
        instance = only(receiver.sessions, Instance)
    assert (instance.calling_ae, instance.received_at) == ("MODALITY", NOON)
    assert receiver.store.open(instance.path).exists()
    assert "instance_stored" in caplog.text


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_the_bytes_are_kept_exactly_as_they_were_sent(
    syntax: str, port: int, receiver: Receiver, tmp_path: Path
) -> None:
    """By DCMTK, which sends what it is told; with elements that a re-encoding would change."""
    sent = dx_bytes(
        transfer_syntax=syntax, ViewCodeSequence=code_sequence("399348003", "SCT", "AP"), ImageComments="odd"
    )
    file = tmp_path / "film.dcm"
    file.write_bytes(sent)
    storescu = [require_peer("storescu"), "-aet", "MODALITY", "-aec", "CXRNODE", "127.0.0.1", str(port), str(file)]
    subprocess.run(
        [*storescu[:1], "-xi" if syntax == ImplicitVRLittleEndian else "-xe", *storescu[1:]], check=True, timeout=60
    )
    instance = only(receiver.sessions, Instance)
    kept = receiver.store.open(instance.path).read_bytes()
    assert dcmread(BytesIO(kept)).file_meta.TransferSyntaxUID == syntax == instance.transfer_syntax_uid
    assert len(data_set_of(kept)) == instance.size_bytes
    assert data_set_of(kept) == by_wire(file, port, syntax)


def by_wire(file: Path, port: int, syntax: str) -> bytes:
    """The data set as DCMTK puts it on the wire: what a second, recording SCP gets."""
    got: list[bytes] = []

    def keep(received: evt.Event) -> int:
        got.append(received.request.DataSet.getvalue())
        return SUCCESS

    ae = AE("RECORDER")
    ae.supported_contexts = [build_context(DX, syntax)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    flag = "-xi" if syntax == ImplicitVRLittleEndian else "-xe"
    command = [require_peer("storescu"), flag, "-aec", "RECORDER", "127.0.0.1", str(server.server_address[1])]
    subprocess.run([*command, str(file)], check=True, timeout=60)
    server.shutdown()
    return got[0]


def test_the_same_object_again_is_success_and_no_second_row(port: int, receiver: Receiver) -> None:
    assert [store(port), store(port)] == [SUCCESS, SUCCESS]
    assert only(receiver.sessions, Instance).id


def test_a_second_version_of_an_object_is_kept_beside_the_first(port: int, receiver: Receiver) -> None:
    assert [store(port), store(port, make_dx(ViewPosition="AP"))] == [SUCCESS, SUCCESS]
    assert len({instance.path for instance in all_of(receiver.sessions, Instance)}) == 2


@pytest.mark.parametrize("sop_class", [PRIVATE, "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.4"])
def test_any_storage_class_is_taken_also_a_private_one(sop_class: str, port: int, receiver: Receiver) -> None:
    ds = make_dx(SOPClassUID=sop_class)
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    assert store(port, ds) == SUCCESS
    assert only(receiver.sessions, Instance).sop_class_uid == sop_class


def test_a_data_set_that_is_not_what_was_announced_is_refused(port: int, receiver: Receiver) -> None:
    assert store_raw(port, data_set_of(dx_bytes())) == DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert all_of(receiver.sessions, Instance) == []


def test_an_object_that_belongs_to_no_study_is_refused(port: int, receiver: Receiver) -> None:
    assert store_raw(port, data_set_of(dx_bytes(StudyInstanceUID=None))) == DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    assert all_of(receiver.sessions, Instance) == []


@pytest.mark.parametrize(
    "data_set",
    [
        b"CANARY^PHI",
        data_set_of(dx_bytes(SOPInstanceUID="CANARY^PHI")),
        data_set_of(dx_bytes())[:100],
        data_set_of(dx_bytes())[:-1],
    ],
    ids=["no data set", "no UID", "cut in its header", "cut in its pixels"],
)
def test_a_data_set_that_cannot_be_understood_is_refused(data_set: bytes, port: int, receiver: Receiver) -> None:
    assert store_raw(port, data_set) == CANNOT_UNDERSTAND
    assert all_of(receiver.sessions, Instance) == []
    assert unfinished_files(receiver.store.root) == []
    assert whole_files(receiver.store.root) == []


class StoreDouble(InstanceStore):
    """A store that does something before a file is durable."""

    def __init__(self, root: Path, before: Callable[[], object]) -> None:
        super().__init__(root)
        self._before = before

    def begin(self, prefix: bytes) -> Unfinished:
        unfinished = super().begin(prefix)
        seal = unfinished.seal

        def seal_after() -> StoredFile:
            self._before()
            return seal()

        unfinished.seal = seal_after  # type: ignore[method-assign]
        return unfinished


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("12 bytes free"), OUT_OF_RESOURCES),
        (OperationalError("INSERT 'CANARY'", {"name": "CANARY"}, Exception("CANARY")), OUT_OF_RESOURCES),
        (ValueError("CANARY"), UNEXPECTED),
    ],
)
def test_an_object_that_cannot_be_kept_is_not_acknowledged(
    error: Exception, status: int, settings: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(receiver, store=StoreDouble(settings.instances_dir, raising(error)))
    with listening(settings, broken) as port:
        assert store(port) == status
    assert all_of(receiver.sessions, Instance) == []
    assert f'"status": "{status:04X}"' in caplog.text


def test_a_disk_that_fills_up_is_out_of_resources_then_refuses_associations(
    settings: Settings, receiver: Receiver
) -> None:
    disk = InstanceStore(settings.instances_dir)
    with listening(settings, replace(receiver, store=disk)) as port:
        ds = make_dx()
        with associated(port) as assoc:
            disk._min_free_bytes = 2**60
            assert assoc.send_c_store(ds).Status == OUT_OF_RESOURCES
            assert assoc.send_c_echo().Status == SUCCESS
        with associated(port) as assoc:
            assert assoc.is_rejected
        disk._min_free_bytes = 0
        assert store(port) == SUCCESS
    assert unfinished_files(settings.instances_dir) == []


@pytest.mark.parametrize("is_postgres", [False, True], ids=["sqlite", "postgresql"])
def test_a_database_that_is_away_is_out_of_resources_until_it_is_back(
    is_postgres: bool, settings: Settings, request: pytest.FixtureRequest
) -> None:
    engine = request.getfixturevalue("postgres_engine" if is_postgres else "sqlite_engine")
    receiver = Receiver(InstanceStore(settings.instances_dir), Sessions(engine), FrozenClock())
    with listening(settings, receiver) as port:
        with away(engine):
            assert store(port) == OUT_OF_RESOURCES
        assert store(port) == SUCCESS
    assert only(receiver.sessions, Instance).id


@contextmanager
def away(engine: Engine) -> Iterator[None]:
    """A database that nobody can reach: a folder stands in the place of the file, or a port where nobody listens."""
    engine.dispose()
    creator = engine.pool._creator
    engine.pool._creator = raising(OperationalError("connect", {}, Exception("CANARY")))
    yield
    engine.pool._creator = creator


def test_nothing_is_answered_before_the_object_is_safe(settings: Settings, receiver: Receiver) -> None:
    """The answer waits for the file, and whoever asks the database after it finds the row."""
    in_put, go_on, answers = threading.Event(), threading.Event(), []

    def block() -> None:
        in_put.set()
        go_on.wait(LONG_S)

    slow = replace(receiver, store=StoreDouble(settings.instances_dir, block))
    with listening(settings, slow) as port:
        sender = threading.Thread(target=lambda: answers.append(store(port)))
        sender.start()
        assert in_put.wait(LONG_S)
        assert (answers, all_of(receiver.sessions, Instance)) == ([], [])
        go_on.set()
        sender.join(LONG_S)
    assert answers == [SUCCESS]
    assert only(receiver.sessions, Instance).id


def test_a_commit_that_fails_is_not_acknowledged_and_its_file_is_kept(
    settings: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    engine, fail = receiver.sessions.kw["bind"], raising(OperationalError("COMMIT", {}, Exception("CANARY")))
    event.listen(engine, "commit", fail)
    with listening(settings, receiver) as port:
        assert store(port) == OUT_OF_RESOURCES
    event.remove(engine, "commit", fail)
    look_over_files(replace(receiver, clock=FrozenClock(NOON.replace(year=2100))))
    assert len(whole_files(settings.instances_dir)) == 1
    assert '"count": 1, "event": "files_without_rows"' in caplog.text


def test_a_file_with_a_row_is_nothing_to_speak_of(
    port: int, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    store(port)
    look_over_files(receiver)
    assert "files_without_rows" not in caplog.text


def test_many_associations_store_at_once(port: int, receiver: Receiver) -> None:
    statuses: list[int] = []

    def send(number: int) -> None:
        ds = make_dx(SOPInstanceUID=f"1.2.{number}")
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        statuses.append(store(port, ds))

    senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(LONG_S)
    assert statuses == [SUCCESS] * 8
    assert len(all_of(receiver.sessions, Instance)) == 8
    assert only(receiver.sessions, Study).id


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_peer("openssl")
    if not TOOLS.exists():
        pytest.skip(f"{TOOLS} is absent")
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([TOOLS / "make_certs.sh", folder], check=True, timeout=60)
    return folder


def test_tls_asks_for_a_certificate_and_a_silent_client_blocks_nobody(
    certificates: Path, settings: Settings, receiver: Receiver
) -> None:
    require_peer("echoscu")
    srv, key, ca = (certificates / name for name in ("srv.pem", "srv.key", "ca.pem"))
    secure = settings.model_copy(update={"tls": Tls(certificate=srv, key=key, ca=ca)})
    with listening(secure, receiver) as port:
        check = [TOOLS / "check_tls_listener.sh", certificates, "127.0.0.1", str(port), "CXRNODE"]
        done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stdout


def test_a_caller_that_talks_no_dicom_leaves_the_port_open(port: int) -> None:
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as connection:
            connection.sendall(words)
    wait_until(lambda: store(port) == SUCCESS, "an object is stored")
