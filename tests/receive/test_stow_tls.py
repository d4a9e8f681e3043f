"""STOW-RS over TLS: whose certificates are taken, and ours renewed while it runs."""

import socket
import ssl
from pathlib import Path

import pytest
from authority import Authority
from doubles import FrozenClock
from stow_peer import Answer, body_of, film, serving
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.peers import Tls
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore
from dicom_node.tls import client_context


@pytest.fixture
def receiver(settings: Settings, sqlite_sessions: Sessions) -> Receiver:
    return Receiver(InstanceStore(settings.instances_dir), sqlite_sessions, FrozenClock())


def test_both_ends_show_a_certificate_and_ours_is_renewed(
    settings: Settings, receiver: Receiver, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    own, callers = authority.issue("node"), authority.issue("caller")
    with serving(settings.model_copy(update={"http_tls": own}), receiver) as port:
        stranger = ssl.create_default_context(cafile=authority.certificate)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Answer(port, body_of(film()), tls=stranger)
        assert Answer(port, body_of(film()), tls=client_context(callers)).status == 200
        first = shown(port, callers)
        authority.issue("node")
        wait_until(lambda: shown(port, callers) != first, "the new certificate is shown")


def shown(port: int, own: Tls) -> bytes | None:
    """The server's certificate."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=LONG_S)
    with client_context(own).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        return connection.getpeercert(binary_form=True)
