"""What the audit trail has of an association that stored something, on both paths."""

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from audited import transfers
from doubles import FrozenClock
from films import dx_bytes
from foreign import require_peer
from raw_peer import ABORTED, ACCEPTED, RawPeer, store
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.heartbeat import Pulse
from dicom_node.receive import scp
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import Listener, bound_port
from dicom_node.receive.port import open_port
from dicom_node.storage import InstanceStore


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_each_study_of_an_association_is_told_once_with_its_patient(
    path: str, settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    films = []
    for number, study in enumerate(("1.2.3", "1.2.3", "1.2.4")):
        films.append(tmp_path / f"{number}.dcm")
        films[-1].write_bytes(dx_bytes(SOPInstanceUID=f"1.2.{number}.9", StudyInstanceUID=study))
    receiver = Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())
    server = scp.start_server(settings.model_copy(update={"receive_path": path}), receiver)
    try:
        storescu = [require_peer("storescu"), "-aet", "MODALITY", "-aec", "CXRNODE", "127.0.0.1"]
        subprocess.run([*storescu, str(bound_port(server)), *films], check=True, timeout=120)
        wait_until(lambda: len(transfers(settings)) == 2, "both studies are in the audit trail")
    finally:
        server.shutdown()
    told = transfers(settings)
    assert sorted(count for count, _ in told) == [1, 2]
    assert {patient for _, patient in told} == {"CANARY-ID"}


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_who_is_sending_when_the_receiver_stops_is_answered_and_told_of(
    path: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    receiver = Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())
    server = scp.start_server(settings.model_copy(update={"receive_path": path}), receiver)
    first, second = (store(f"1.2.{number}", object_bytes(f"1.2.{number}")) for number in (1, 2))
    with RawPeer(bound_port(server)) as peer, ThreadPoolExecutor() as threads:
        assert peer.associate() == ACCEPTED
        peer.send(first)
        assert peer.status() == 0
        peer.send(second[:-1000])
        stopping = threads.submit(server.shutdown)
        wait_until(lambda: not listens(server), "nobody else comes in")
        peer.send(second[-1000:])
        assert peer.status() == 0
        assert peer.answer()[0] == ABORTED  # once it is silent
        peer.socket.close()
        stopping.result()
    assert transfers(settings) == [(2, "CANARY-ID")]


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_who_keeps_the_connection_keeps_no_receiver_from_its_end(
    path: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    server = started(settings.model_copy(update={"receive_path": path}), sqlite_sessions)
    with RawPeer(bound_port(server)) as peer:
        assert peer.associate() == ACCEPTED
        peer.send(store("1.2.1", object_bytes("1.2.1")))
        assert peer.status() == 0
        server.shutdown()
    assert transfers(settings) == [(1, "CANARY-ID")]


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_who_connected_before_the_receiver_stops_may_still_send(
    path: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    server = started(settings.model_copy(update={"receive_path": path}), sqlite_sessions)
    whole = store("1.2.1", object_bytes("1.2.1"))
    with RawPeer(bound_port(server)) as busy, RawPeer(bound_port(server)) as late, ThreadPoolExecutor() as threads:
        assert busy.associate() == ACCEPTED
        busy.send(whole[:-1000])
        wait_until(lambda: len(server.active_associations) == 2, "both are connected")
        stopping = threads.submit(server.shutdown)
        wait_until(lambda: not listens(server), "nobody else comes in")
        assert late.associate() == ACCEPTED
        busy.send(whole[-1000:])
        assert busy.status() == 0
        for peer in (busy, late):
            peer.socket.close()
        stopping.result()
    assert "a fault of this program" not in "".join(told.read_text() for told in settings.audit_dir.iterdir())


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_who_has_asked_for_nothing_is_hung_up_on_when_the_receiver_stops(
    path: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    server = started(settings.model_copy(update={"receive_path": path}), sqlite_sessions)
    with RawPeer(bound_port(server)) as peer:
        wait_until(lambda: server.active_associations, "it is connected")
        server.shutdown()
        assert peer.answer()[0] == 0


def test_nobody_is_let_in_while_a_peer_hangs_that_a_commitment_is_told_to(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    stop = threading.Event()
    with scp._receiving(settings, open_port(settings), Pulse(), stop) as (_, server):
        stop.set()
        wait_until(lambda: not listens(server), "the port closes before the rounds have ended")


def started(settings: Settings, sessions: Sessions) -> Listener:
    return scp.start_server(settings, Receiver(InstanceStore(settings.instances_dir), sessions, FrozenClock()))


def object_bytes(sop_instance: str) -> bytes:
    part10 = dx_bytes(SOPInstanceUID=sop_instance)
    return part10[part10.index(b"\x08\0\x16\0UI") :]


def listens(server: Listener) -> bool:
    try:
        RawPeer(bound_port(server)).socket.close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True
