"""Who may store over HTTP."""

import socket
from collections.abc import Iterator
from functools import partial

import pytest
from doubles import FrozenClock
from fastapi import HTTPException
from pydantic import SecretStr
from rows import all_of, only
from stow_peer import STUDIES, TYPE, Answer, body_of, film, serving
from waiting import LONG_S

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.receive.intake import Receiver
from dicom_node.receive.refusals import Refusals
from dicom_node.storage import InstanceStore
from dicom_node.web.access import Doorkeeper

CLIENTS = {"PACS": SecretStr("s3cret-of-the-pacs!"), "GATEWAY": SecretStr("s3cret-of-the-gateway")}


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


@pytest.fixture
def refusals(settings: Settings) -> Iterator[Refusals]:
    trail = AuditTrail(settings.audit_dir, settings.ae_title, FrozenClock())
    yield Refusals(trail)
    trail.stopped()


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    return settings.model_copy(update={"stow_clients": CLIENTS})


def test_a_client_is_known_by_its_token_and_named_in_the_row(guarded: Settings, receiver: Receiver) -> None:
    with serving(guarded, receiver) as port:
        assert Answer(port, body_of(film()), Authorization="Bearer s3cret-of-the-gateway").status == 200
    assert only(receiver.sessions, Instance).calling_ae == "GATEWAY"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer s3cret-of-the-pacs", "Basic s3cret-of-the-pacs!", "Bearer \xe4\xf6\xfc"]
)
def test_a_wrong_token_is_challenged(
    authorization: str, guarded: Settings, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(guarded, receiver) as port:
        answer = Answer(port, body_of(film()), Authorization=authorization)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="dicom-web"')
    assert all_of(receiver.sessions, Instance) == []
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
def test_without_clients_this_machine_may_store(address: str, settings: Settings, refusals: Refusals) -> None:
    assert Doorkeeper(settings, refusals).sender_of({}, address) == "STOW-RS"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.1", {}),
        ("::ffff:192.0.2.1", {}),
        ("2001:db8::1", {}),
        ("", {}),
        ("192.0.2.1", {"authorization": "Bearer s3cret-of-the-pacs!"}),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}),
        ("127.0.0.1", {"x-forwarded-proto": "https"}),
        ("127.0.0.1", {"x-forwarded-host": "node.example"}),
        ("127.0.0.1", {"x-real-ip": "192.0.2.1"}),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"origin": "https://evil.example"}),
    ],
)
def test_without_clients_nobody_else_may(
    address: str, headers: dict[str, str], settings: Settings, refusals: Refusals
) -> None:
    with pytest.raises(HTTPException) as refused:
        Doorkeeper(settings, refusals).sender_of(headers, address)
    assert refused.value.status_code == 403


def test_what_a_proxy_forwards_is_not_taken_for_this_machine(settings: Settings, receiver: Receiver) -> None:
    with serving(settings, receiver) as port:
        assert Answer(port, body_of(film()), X_Forwarded_For="127.0.0.1").status == 403


def test_who_speaks_http_1_0_is_taken_for_a_proxy(settings: Settings, receiver: Receiver) -> None:
    head = f"POST {STUDIES} HTTP/1.0\r\nContent-Type: {TYPE}\r\nContent-Length: 0\r\n\r\n"
    with serving(settings, receiver) as port, socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as proxy:
        proxy.sendall(head.encode())
        assert b" 403 " in proxy.recv(4096)


def test_who_has_a_token_may_come_from_anywhere(guarded: Settings, refusals: Refusals) -> None:
    bearer = {"authorization": "bearer s3cret-of-the-pacs!"}
    assert Doorkeeper(guarded, refusals).sender_of(bearer, "192.0.2.1") == "PACS"


def test_a_refusal_is_in_the_audit_trail(guarded: Settings, receiver: Receiver) -> None:
    with serving(guarded, receiver) as port:
        Answer(port, body_of(film()), Authorization="Bearer wrong")
    (trail,) = guarded.audit_dir.iterdir()
    assert "request refused 401: expected the bearer token" in trail.read_text()


def test_one_sender_does_not_take_every_place(settings: Settings, refusals: Refusals) -> None:
    few = settings.model_copy(update={"max_associations": 3, "max_associations_per_peer": 2})
    place = Doorkeeper(few, refusals).place
    pacs, gateway = (partial(place, sender, "192.0.2.1") for sender in ("PACS", "GATEWAY"))
    with pacs(), pacs():
        with pytest.raises(HTTPException, match="503: as many requests as one sender may have"), pacs():
            pass
        with gateway(), pytest.raises(HTTPException, match="503: as many requests as may be"), gateway():
            pass
    with pacs():
        pass
