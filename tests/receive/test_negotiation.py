"""What the A-ASSOCIATE-AC says of services and roles (PS3.7 annex D), on both paths."""

import struct
from collections.abc import Iterator

import pytest
from doubles import FrozenClock
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from raw_peer import ACCEPTED, DX, ECHO_CLASS, EXPLICIT, RELEASE, RawPeer, item, pdu
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.receive import scp
from dicom_node.receive.commitment import STORAGE_COMMITMENT
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import bound_port
from dicom_node.receive.negotiation import is_storage
from dicom_node.storage import InstanceStore

WORKLIST, STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.1.2.2.1"
PRIVATE, OF_TOMORROW = "1.2.276.0.7230010.3.1.0.1", "1.2.840.10008.5.1.4.1.1.999.1"
RETIRED_STORAGE = "1.2.840.10008.5.1.4.1.1.6"
# PS3.4 GG.3: hanging protocol, color palette, implant template, defined procedure protocol, inventory
WITHOUT_PATIENT = [f"1.2.840.10008.5.1.4.{end}" for end in ("38.1", "39.1", "43.1", "1.1.200.1", "1.1.201.1")]
ACCEPTANCE, NO_SUCH_SERVICE, NO_SUCH_SYNTAX = 0, 3, 4  # PS3.8 table 9-18
AS_SCP, AS_SCU, AS_BOTH = (0, 1), (1, 0), (1, 1)


@pytest.fixture(params=["fast", "plain"])
def port(request: pytest.FixtureRequest, settings: Settings, sqlite_sessions: Sessions) -> Iterator[int]:
    receiver = Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())
    server = scp.start_server(settings.model_copy(update={"receive_path": request.param}), receiver)
    yield bound_port(server)
    server.shutdown()
    wait_until(lambda: not server.active_associations, "all associations end")


def negotiated(
    port: int, *classes: str, roles: dict[str, tuple[int, int]] | None = None, syntax: str = EXPLICIT
) -> list[tuple[int, bytes]]:
    """The items of the A-ASSOCIATE-AC, those of its user information after the others."""
    items = item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract in enumerate(classes):
        context = bytes([2 * number + 1, 0, 0, 0]) + item(0x30, abstract.encode()) + item(0x40, syntax.encode())
        items += item(0x20, context)
    user = item(0x51, struct.pack(">I", 16_384)) + item(0x52, b"2.25.1")
    for abstract, (scu, scp_role) in (roles or {}).items():
        user += item(0x54, struct.pack(">H", len(abstract)) + abstract.encode() + bytes([scu, scp_role]))
    titles = struct.pack(">HH16s16s32x", 1, 0, b"CXRNODE".ljust(16), b"MODALITY".ljust(16))
    with RawPeer(port) as peer:
        peer.send(pdu(0x01, titles + items + item(0x50, user)))
        kind, content = peer.answer()
        assert kind == ACCEPTED
        peer.send(RELEASE)
        peer.answer()
    return list(_items(content[68:]))


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    while content:
        kind, end = content[0], 4 + int.from_bytes(content[2:4], "big")
        yield from _items(content[4:end]) if kind == 0x50 else [(kind, content[4:end])]
        content = content[end:]


def test_only_storage_and_our_own_services_are_accepted(port: int) -> None:
    classes = [WORKLIST, DX, STUDY_ROOT_FIND, PRIVATE, ECHO_CLASS, OF_TOMORROW, RETIRED_STORAGE]
    results = {content[0]: content[2] for kind, content in negotiated(port, *classes) if kind == 0x21}
    expected = [NO_SUCH_SERVICE if each in (WORKLIST, STUDY_ROOT_FIND) else ACCEPTANCE for each in classes]
    assert [results[2 * number + 1] for number in range(len(classes))] == expected


@pytest.mark.parametrize(
    ("syntax", "result"),
    [
        (ImplicitVRLittleEndian, ACCEPTANCE),
        (EXPLICIT, ACCEPTANCE),
        (ExplicitVRBigEndian, NO_SUCH_SYNTAX),
        (DeflatedExplicitVRLittleEndian, NO_SUCH_SYNTAX),
    ],
)
def test_an_echo_is_taken_in_what_the_conformance_statement_says(port: int, syntax: str, result: int) -> None:
    (context,) = (content for kind, content in negotiated(port, ECHO_CLASS, syntax=syntax) if kind == 0x21)
    assert context[2] == result


def test_objects_without_a_patient_are_refused_before_they_are_sent(port: int) -> None:
    """They belong to no study; the conformance statement names them."""
    results = [content[2] for kind, content in negotiated(port, *WITHOUT_PATIENT) if kind == 0x21]
    assert results == [NO_SUCH_SERVICE] * len(WITHOUT_PATIENT)


@pytest.mark.parametrize("role", [AS_SCP, AS_SCU, AS_BOTH], ids=["SCP", "SCU", "both"])
def test_who_reports_a_commitment_may_be_its_scp(role: tuple[int, int], port: int) -> None:
    """PS3.4 J.3.3.1.3: dcm4che sends no N-EVENT-REPORT unless the role that it proposed is accepted."""
    found = negotiated(port, STORAGE_COMMITMENT, DX, roles={STORAGE_COMMITMENT: role, DX: AS_SCU})
    roles = {content[2:-2].decode(): tuple(content[-2:]) for kind, content in found if kind == 0x54}
    assert roles == {STORAGE_COMMITMENT: role, DX: AS_SCU}
    assert [content[2] for kind, content in found if kind == 0x21] == [ACCEPTANCE, ACCEPTANCE]


def test_no_role_is_answered_that_was_not_proposed(port: int) -> None:
    assert not [content for kind, content in negotiated(port, STORAGE_COMMITMENT, DX) if kind == 0x54]


@pytest.mark.parametrize(
    ("sop_class", "expected"),
    [
        (DX, True),
        (PRIVATE, True),
        (OF_TOMORROW, True),
        (RETIRED_STORAGE, True),
        ("1.2.840.10008.5.1.4.1.1.88.11", True),
        (STORAGE_COMMITMENT, False),
        ("1.2.840.10008.1.3.10", False),  # a DICOMDIR
        ("1.2.840.10008.1.9", False),  # Basic Study Content Notification, retired
        ("1.2.840.10008.1.2.1", False),  # a transfer syntax
        (WORKLIST, False),
    ],
)
def test_what_is_stored(sop_class: str, expected: bool) -> None:
    assert is_storage(UID(sop_class)) is expected
