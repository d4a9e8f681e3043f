"""STOW-RS over TLS: whose certificates are taken, and ours renewed while it runs."""

import socket
import ssl
from pathlib import Path

import pytest
from authority import Authority
from doubles import FrozenClock
from pydantic import SecretStr
from stow_peer import Answer, body_of, film, health, serving
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.peers import HttpTls, Tls
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore
from dicom_node.tls import client_context


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


def test_who_stores_shows_a_certificate_and_ours_is_renewed(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    own, callers = authority.issue("node"), authority.issue("caller")
    with serving(settings.model_copy(update={"http_tls": own}), receiver) as port:
        stranger = ssl.create_default_context(cafile=authority.certificate)
        assert Answer(port, body_of(film()), tls=stranger).status == 403
        assert health(port, tls=stranger).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Answer(port, body_of(film()), tls=client_context(Authority(tmp_path / "another").issue("caller")))
        assert Answer(port, body_of(film()), tls=client_context(callers)).status == 200
        first = shown(port, callers)
        authority.issue("node")
        wait_until(lambda: shown(port, callers) != first, "the new certificate is shown")


def test_a_list_of_revoked_certificates_comes_and_goes_while_it_runs(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    own, revoked = authority.issue("node"), authority.issue("revoked")
    trusted = authority.certificate.read_text()
    with serving(settings.model_copy(update={"http_tls": own}), receiver) as port:
        assert is_let_in(port, revoked)
        authority.certificate.write_text(trusted + authority.revocations(revoked))
        wait_until(lambda: not is_let_in(port, revoked), "the list is enforced")
        assert is_let_in(port, own)
        authority.certificate.write_text(trusted)
        wait_until(lambda: is_let_in(port, revoked), "without a list, nobody is looked for in it")


def is_let_in(port: int, caller: Tls) -> bool:
    try:
        return Answer(port, body_of(film()), tls=client_context(caller)).status == 200
    except OSError:
        return False


def test_without_authorities_the_server_certificate_alone_is_shown(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    """A browser sees the page, and who stores is known by the token."""
    authority = Authority(tmp_path / "authority")
    own = HttpTls(**authority.issue("node").model_dump(exclude={"ca"}))
    token = {"GATEWAY": SecretStr("s3cret-of-the-gateway")}
    browser = ssl.create_default_context(cafile=authority.certificate)
    with serving(settings.model_copy(update={"http_tls": own, "stow_clients": token}), receiver) as port:
        page = Answer(port, path="/first-admin", method="GET", tls=browser)
        assert (page.status, page.headers["set-cookie"][:30]) == (200, "__Host-dicom-node-before-login")
        assert Answer(port, body_of(film()), tls=browser).status == 401
        bearer = "Bearer s3cret-of-the-gateway"
        assert Answer(port, body_of(film()), tls=browser, Authorization=bearer).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Answer(port, body_of(film()), tls=ssl.create_default_context())


def shown(port: int, own: Tls) -> bytes | None:
    """The server's certificate."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
    with client_context(own).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        return connection.getpeercert(binary_form=True)
