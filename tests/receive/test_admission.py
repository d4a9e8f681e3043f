"""Who may come in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from doubles import FrozenClock
from pynetdicom import AE
from pynetdicom.association import Association
from waiting import LONG_S, wait_until

from dicom_node.config import Peer, Settings
from dicom_node.database import Sessions
from dicom_node.receive.admission import is_welcome
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import Listener, bound_port
from dicom_node.receive.scp import VERIFICATION, start_server
from dicom_node.storage import InstanceStore

ANYWHERE = Peer()
WARD = Peer.model_validate({"addresses": ["10.1.0.0/16", "fd00::/8"]})
HERE = Peer.model_validate({"addresses": ["127.0.0.0/8"]})


@pytest.mark.parametrize(
    ("peers", "calling_ae", "address", "welcome"),
    [
        ({}, "ANY", "127.0.0.1", True),
        ({}, "ANY", "::1", True),
        ({}, "ANY", "10.1.2.3", False),
        ({"CT1": ANYWHERE}, "CT1", "10.1.2.3", True),
        ({"CT1": ANYWHERE}, "CT1", "fd00::1", True),
        ({"CT1": ANYWHERE}, "CT2", "10.1.2.3", False),
        ({"CT1": ANYWHERE}, "CT2", "127.0.0.1", False),
        ({"CT1": ANYWHERE}, "ct1", "10.1.2.3", False),
        ({"CT1": WARD}, "CT1", "10.1.2.3", True),
        ({"CT1": WARD}, "CT1", "fd12::1", True),
        ({"CT1": WARD}, "CT1", "10.2.2.3", False),
        ({"CT1": WARD}, "CT1", "127.0.0.1", False),
        ({"CT1": WARD}, "CT1", "::ffff:10.1.2.3", True),  # IPv4 on an IPv6 socket
        ({}, "ANY", "::ffff:127.0.0.1", True),
        ({}, "ANY", "::ffff:10.1.2.3", False),
    ],
)
def test_who_is_welcome(peers: dict[str, Peer], calling_ae: str, address: str, welcome: bool) -> None:
    assert is_welcome(Settings(peers=peers), calling_ae, address) == welcome


@pytest.fixture(params=["fast", "plain"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Each way of receiving in turn."""
    return settings.model_copy(update={"receive_path": request.param})


@contextmanager
def listening(settings: Settings, sessions: Sessions) -> Iterator[Listener]:
    server = start_server(settings, Receiver(InstanceStore(settings.instances_dir), sessions, FrozenClock()))
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def associated(server: Listener, *, called: str = "CXRNODE", calling: str = "MODALITY") -> Iterator[Association]:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = LONG_S
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", bound_port(server), ae_title=called)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def rejection(assoc: Association) -> tuple[int, int, int]:
    """Result, source and reason (PS3.8 table 9-21)."""
    assert assoc.is_rejected
    answer = assoc.acceptor.primitive
    assert answer is not None
    return int(answer.result), int(answer.result_source), int(answer.diagnostic)


def test_a_wrong_called_ae_title_is_rejected(settings: Settings, sqlite_sessions: Sessions) -> None:
    with listening(settings, sqlite_sessions) as server, associated(server, called="OTHER") as assoc:
        assert rejection(assoc) == (1, 1, 7)


@pytest.mark.parametrize(
    ("peers", "calling"),
    [({"MODALITY": ANYWHERE}, "STRANGER"), ({"MODALITY": WARD}, "MODALITY")],
    ids=["unknown title", "wrong address"],
)
def test_an_unknown_caller_is_rejected(
    peers: dict[str, Peer], calling: str, settings: Settings, sqlite_sessions: Sessions,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    strict = settings.model_copy(update={"peers": peers})
    with listening(strict, sqlite_sessions) as server, associated(server, calling=calling) as assoc:
        assert rejection(assoc) == (1, 1, 3)
    assert "association_refused" in caplog.text


def test_a_known_caller_from_its_address_is_served(settings: Settings, sqlite_sessions: Sessions) -> None:
    strict = settings.model_copy(update={"peers": {"MODALITY": HERE}})
    with listening(strict, sqlite_sessions) as server, associated(server) as assoc:
        assert assoc.send_c_echo().Status == 0x0000


def test_who_is_rejected_takes_no_place(settings: Settings, sqlite_sessions: Sessions) -> None:
    strict = settings.model_copy(update={"peers": {"MODALITY": HERE}, "max_associations": 1})
    with listening(strict, sqlite_sessions) as server:
        for _ in range(3):
            with associated(server, calling="STRANGER") as assoc:
                assert rejection(assoc) == (1, 1, 3)
        wait_until(lambda: is_served(server), "a known caller is served")


def test_one_association_too_many_is_told_to_come_later(settings: Settings, sqlite_sessions: Sessions) -> None:
    narrow = settings.model_copy(update={"max_associations": 2})
    with listening(narrow, sqlite_sessions) as server:
        with ExitStack() as held:
            for _ in range(2):
                assert held.enter_context(associated(server)).is_established
            with associated(server) as assoc:
                assert rejection(assoc) == (2, 3, 2)
        wait_until(lambda: is_served(server), "there is room again")


def is_served(server: Listener) -> bool:
    with associated(server) as assoc:
        return assoc.is_established
