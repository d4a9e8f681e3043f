"""GET /metrics: who may ask, and what is answered when the database is away."""

import socket

import pytest
from doubles import FrozenClock
from pydantic import SecretStr
from sqlalchemy import Engine
from stow_peer import Answer, serving
from test_web_role import away
from waiting import LONG_S

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore

TOKEN = "a-token-for-prometheus"


@pytest.fixture
def receiver(settings: Settings, sqlite_engine: Engine) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), Sessions(sqlite_engine), FrozenClock())


def ask(port: int, **headers: str) -> Answer:
    return Answer(port, path="/metrics", method="GET", **headers)


def test_this_machine_may_ask(settings: Settings, receiver: Receiver) -> None:
    with serving(settings, receiver) as port:
        answer = ask(port)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b"\ndicom_node_studies_receiving 0.0\n" in answer.content


@pytest.mark.parametrize("header", ["Forwarded", "X_Forwarded_For", "X_Forwarded_Proto", "X_Real_IP", "Via", "Origin"])
def test_what_comes_from_elsewhere_through_this_machine_may_not(
    header: str, settings: Settings, receiver: Receiver
) -> None:
    with serving(settings, receiver) as port:
        answer = ask(port, **{header: "elsewhere"})
    assert (answer.status, b"dicom_node_" in answer.content) == (403, False)


def test_who_speaks_http_1_0_is_taken_for_a_proxy(settings: Settings, receiver: Receiver) -> None:
    with serving(settings, receiver) as port, socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as proxy:
        proxy.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b" 403 " in proxy.recv(4096)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer another-token-altogether", f"Basic {TOKEN}", "Bearer \xe4"])
def test_with_a_token_nobody_else_may_ask(given: str, settings: Settings, receiver: Receiver) -> None:
    guarded = settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    with serving(guarded, receiver) as port:
        answer = ask(port, Authorization=given)
        assert (answer.status, b"dicom_node_" in answer.content) == (401, False)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert ask(port, Authorization=f"Bearer {TOKEN}").status == 200


def test_a_database_that_is_away_is_told(settings: Settings, receiver: Receiver, sqlite_engine: Engine) -> None:
    with serving(settings, receiver) as port:
        with away(sqlite_engine):
            answer = ask(port)
        assert (answer.status, answer.content) == (503, b"The database is away.\n")
        assert ask(port).status == 200
