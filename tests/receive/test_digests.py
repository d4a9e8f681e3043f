"""What is done while nothing is received."""

import threading
from hashlib import sha256

import pytest
from doubles import FrozenClock
from films import dx_bytes
from rows import all_of, only, receive

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.receive import digests
from dicom_node.receive.digests import Digests
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore

GO_ON = threading.Event()


@pytest.fixture(autouse=True)
def quiet_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "QUIET_S", 0.0)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def receiver(settings: Settings, sessions: Sessions, clock: FrozenClock) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sessions, clock)


def keep_films(receiver: Receiver, count: int) -> None:
    with receiver.sessions.begin() as session:
        for number in range(count):
            receive(session, receiver.store, SOPInstanceUID=f"1.2.{number}")


def test_every_object_gets_the_digest_of_its_data_set(receiver: Receiver) -> None:
    keep_films(receiver, 3)
    Digests(receiver).fill(GO_ON)
    made = [each.sha256 for each in all_of(receiver.sessions, Instance)]
    assert made == [sha256(dx_bytes(SOPInstanceUID=f"1.2.{number}")).hexdigest() for number in range(3)]


def test_nothing_is_made_while_an_object_comes_in(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "QUIET_S", 0.001)
    keep_films(receiver, 1)
    coming = receiver.store.begin(b"")
    Digests(receiver).fill(GO_ON)
    assert only(receiver.sessions, Instance).sha256 == ""
    coming.discard()


def test_nothing_is_made_between_the_objects_of_a_sender(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "QUIET_S", 60.0)
    keep_films(receiver, 1)
    Digests(receiver).fill(GO_ON)
    assert only(receiver.sessions, Instance).sha256 == ""


def test_an_object_does_not_wait_for_longer_than_an_hour(
    receiver: Receiver, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "QUIET_S", 60.0)
    keep_films(receiver, 1)
    clock.forward(3_601)
    with receiver.sessions.begin() as session:
        receive(session, receiver.store, now=clock(), SOPInstanceUID="1.2.99")
    Digests(receiver).fill(GO_ON)
    assert [bool(each.sha256) for each in all_of(receiver.sessions, Instance)] == [True, False]


def test_more_objects_than_are_written_at_once_all_get_theirs(receiver: Receiver) -> None:
    keep_films(receiver, 51)
    Digests(receiver).fill(GO_ON)
    assert all(each.sha256 for each in all_of(receiver.sessions, Instance))


def test_a_file_that_cannot_be_read_is_told_once_and_holds_up_no_other(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    keep_films(receiver, 2)
    gone, _ = all_of(receiver.sessions, Instance)
    receiver.store.open(gone.path).unlink()
    filling = Digests(receiver)
    filling.fill(GO_ON)
    filling.fill(GO_ON)
    assert [bool(each.sha256) for each in all_of(receiver.sessions, Instance)] == [False, True]
    assert caplog.text.count("file_unreadable") == 1
