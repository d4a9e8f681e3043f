"""Who may come in, what those hear who may not, and who is told of them."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from doubles import FrozenClock
from pydantic import ValidationError
from pynetdicom.association import Association
from raw_peer import REJECTED, RawPeer, association_request
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.peers import Peer, Tls
from dicom_node.receive.admission import (
    NOT_THIS_MACHINE,
    UNKNOWN_APPLICATION_CONTEXT,
    UNKNOWN_CALLED_AE,
    UNKNOWN_CALLING_AE,
    WRONG_ADDRESS,
    WRONG_CERTIFICATE,
    Caller,
    Rejection,
    judge,
)
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import Listener, bound_port
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.receive.scp import VERIFICATION, start_server
from dicom_node.requestor import Requestor
from dicom_node.storage import InstanceStore

ANYWHERE = Peer()
WARD = Peer.model_validate({"addresses": ["10.1.0.0/16", "fd00::/8"]})
HERE = Peer.model_validate({"addresses": ["127.0.0.0/8"]})
MINE, OTHERS = "0a" * 32, "0b" * 32
PINNED = Peer.model_validate({"certificate_sha256": [MINE, "0c" * 32]})


@pytest.mark.parametrize(
    ("peers", "calling_ae", "address", "rejection"),
    [
        ({}, "ANY", "127.0.0.1", None),
        ({}, "ANY", "::1", None),
        ({}, "ANY", "10.1.2.3", NOT_THIS_MACHINE),
        ({"CT1": ANYWHERE}, "CT1", "10.1.2.3", None),
        ({"CT1": ANYWHERE}, "CT1", "fd00::1", None),
        ({"CT1": ANYWHERE}, "CT2", "10.1.2.3", UNKNOWN_CALLING_AE),
        ({"CT1": ANYWHERE}, "CT2", "127.0.0.1", UNKNOWN_CALLING_AE),
        ({"CT1": ANYWHERE}, "ct1", "10.1.2.3", UNKNOWN_CALLING_AE),
        ({"CT1": WARD}, "CT1", "10.1.2.3", None),
        ({"CT1": WARD}, "CT1", "fd12::1", None),
        ({"CT1": WARD}, "CT1", "10.2.2.3", WRONG_ADDRESS),
        ({"CT1": WARD}, "CT1", "127.0.0.1", WRONG_ADDRESS),
        ({"CT1": WARD}, "CT1", "::ffff:10.1.2.3", None),  # IPv4 on an IPv6 socket
        ({}, "ANY", "::ffff:127.0.0.1", None),
        ({}, "ANY", "::ffff:10.1.2.3", NOT_THIS_MACHINE),
        ({"CT1": WARD}, "CT1", "fe80::1%eth0", WRONG_ADDRESS),
    ],
)
def test_who_is_welcome(peers: dict[str, Peer], calling_ae: str, address: str, rejection: Rejection | None) -> None:
    assert judge(Settings(peers=peers), Caller(calling_ae, "CXRNODE", address)) == rejection


@pytest.mark.parametrize(
    ("peer", "certificate", "rejection"),
    [
        (ANYWHERE, None, None),
        (ANYWHERE, OTHERS, None),  # TLS asks for one of our authorities in any case
        (PINNED, MINE, None),
        (PINNED, OTHERS, WRONG_CERTIFICATE),
        (PINNED, None, WRONG_CERTIFICATE),
    ],
)
def test_whose_certificate_is_welcome(peer: Peer, certificate: str | None, rejection: Rejection | None) -> None:
    tls = Tls(certificate=Path("c"), key=Path("k"), ca=Path("a"))
    settings = Settings(peers={"CT1": peer}, tls=tls)
    assert judge(settings, Caller("CT1", "CXRNODE", "10.1.2.3", certificate)) == rejection


def test_who_calls_somebody_else_is_not_welcome_and_strangers_do_not_learn_our_name() -> None:
    settings = Settings(peers={"CT1": ANYWHERE})
    assert judge(settings, Caller("CT1", "OTHER", "10.1.2.3")) == UNKNOWN_CALLED_AE
    assert judge(settings, Caller("CT2", "OTHER", "10.1.2.3")) == UNKNOWN_CALLING_AE
    elsewhere = Caller("CT1", "CXRNODE", "10.1.2.3", application_context="1.2.3")
    assert judge(settings, elsewhere) == UNKNOWN_APPLICATION_CONTEXT


@pytest.mark.parametrize("written", ["0A" * 32, ":".join(["0a"] * 32), ":".join(["0A"] * 32)])
def test_a_fingerprint_may_be_written_as_openssl_writes_it(written: str) -> None:
    assert Peer.model_validate({"certificate_sha256": [written]}).certificate_sha256 == (MINE,)


@pytest.mark.parametrize("written", ["", "0a" * 20, "0a" * 33, "zz" * 32, 7])
def test_what_is_no_fingerprint_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        Peer.model_validate({"certificate_sha256": [written]})


def test_a_fingerprint_without_tls_is_refused() -> None:
    with pytest.raises(ValidationError, match="certificate_sha256 of CT1 needs tls"):
        Settings(peers={"CT1": PINNED, "CT2": ANYWHERE})


@pytest.fixture(params=["fast", "plain"])
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Each way of receiving in turn."""
    return settings.model_copy(update={"receive_path": request.param})


@contextmanager
def listening(settings: Settings, sessions: Sessions, store: InstanceStore | None = None) -> Iterator[Listener]:
    store = store or InstanceStore(settings.instances_dir)
    server = start_server(settings, Receiver(store, sessions, FrozenClock()))
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def associated(server: Listener, *, called: str = "CXRNODE", calling: str = "MODALITY") -> Iterator[Association]:
    ae = Requestor(calling, timeout_s=LONG_S)  # hears a rejection also of who hangs up at once
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
        wait_until(lambda: "association_refused" in caplog.text, "it is in the log")


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


def test_one_calling_ae_title_does_not_shut_out_the_others(settings: Settings, sqlite_sessions: Sessions) -> None:
    narrow = settings.model_copy(update={"max_associations_per_peer": 1})
    with listening(narrow, sqlite_sessions) as server, associated(server) as held:
        assert held.is_established
        with associated(server) as second:
            assert rejection(second) == (2, 3, 2)
        with associated(server, calling="PACS") as other:
            assert other.is_established


def test_without_room_on_the_disk_the_sender_is_told_to_come_later(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    full = InstanceStore(settings.instances_dir, min_free_bytes=2**60)
    with listening(settings, sqlite_sessions, full) as server, associated(server) as assoc:
        assert rejection(assoc) == (2, 3, 2)


class BrokenStore(InstanceStore):
    def has_room(self) -> bool:
        raise RuntimeError("a fault of this program")


def test_an_error_of_ours_lets_nobody_in(settings: Settings, sqlite_sessions: Sessions) -> None:
    """pynetdicom forgets what a handler raised, and would accept."""
    broken = BrokenStore(settings.instances_dir)
    with listening(settings, sqlite_sessions, broken) as server, associated(server) as assoc:
        assert rejection(assoc) == (2, 3, 1)


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9", (1, 1, 2)), (b"\0\x01\0\0CXR", b"\0\x02\0\0CXR", (1, 2, 2))],
    ids=["application context", "protocol version"],
)
def test_what_is_not_dicom_as_we_know_it_is_rejected(
    old: bytes, new: bytes, answer: tuple[int, int, int], settings: Settings, sqlite_sessions: Sessions
) -> None:
    """PS3.8 table 9-21; 9.3.2: the version is 1."""
    with listening(settings, sqlite_sessions) as server, RawPeer(bound_port(server)) as peer:
        peer.send(association_request("MODALITY").replace(old, new, 1))
        kind, content = peer.answer()
        assert (kind, tuple(content[1:])) == (REJECTED, answer)


def test_too_many_connections_in_a_second_are_hung_up_on_before_they_ask(
    settings: Settings, sqlite_sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    slow, seconds = settings.model_copy(update={"max_associations_per_s": 2}), [0.0]
    with listening(slow, sqlite_sessions) as server:
        server._rate = RateLimit(2, burst=2, timer=lambda: seconds[0])
        with ExitStack() as open_peers:
            peers = [open_peers.enter_context(RawPeer(bound_port(server))) for _ in range(5)]
            assert peers[-1].answer() == (0, b"")  # hung up on
            with RawPeer(bound_port(server), source="127.0.0.2") as elsewhere:
                assert elsewhere.associate() != 0
        seconds[0] += 1
        assert is_answered(server)
    assert '"reason": "too many connections in a second"' in caplog.text


def is_answered(server: Listener) -> bool:
    with RawPeer(bound_port(server)) as peer:
        try:
            return peer.associate() != 0
        except ConnectionError:
            return False


def test_who_was_turned_away_is_in_the_audit_trail_between_start_and_stop(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    strict = settings.model_copy(update={"peers": {"MODALITY": HERE}})
    with listening(strict, sqlite_sessions) as server:
        for calling, called in (("STRANGER", "CXRNODE"), ("MODALITY", "OTHER"), ("MODALITY", "CXRNODE")):
            with associated(server, calling=calling, called=called):
                pass
            wait_until(lambda: not server.active_associations, "it is told before the next comes")
    (file,) = settings.audit_dir.iterdir()
    messages = [ET.fromstring(line) for line in file.read_text(encoding="utf-8").splitlines()]
    events = [each.find("EventIdentification/EventID").get("csd-code") for each in messages]  # type: ignore[union-attr]
    assert events == ["110100", "110113", "110113", "110100"]
    assert [each.findtext(".//EventOutcomeDescription") for each in messages[1:3]] == [
        "association refused 1/1/3: calling AE title is not one of the peers",
        "association refused 1/1/7: called AE title is not ours",
    ]
    assert [each.findall("ActiveParticipant")[1].get("UserID") for each in messages[1:3]] == ["STRANGER", "MODALITY"]


def is_served(server: Listener) -> bool:
    with associated(server) as assoc:
        return assoc.is_established
