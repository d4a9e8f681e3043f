"""What the doctor says of the identity provider and of the collector of audit messages."""

import socket
from pathlib import Path

import pytest
from authority import Authority
from collectors import Rsyslog
from waiting import free_port

from dicom_node.config import Settings
from dicom_node.doctor.collectors import check_collector, check_provider
from dicom_node.peers import AuditSyslog, Oidc


def test_who_has_neither_is_told_nothing(settings: Settings) -> None:
    assert [*check_provider(settings), *check_collector(settings)] == []


def test_a_collector_that_takes_messages_is_well_and_one_of_strangers_is_not(
    settings: Settings, tmp_path: Path
) -> None:
    rsyslog, stranger = Rsyslog(tmp_path), Authority(tmp_path / "stranger").issue("node")
    rsyslog.start()
    try:
        (found,) = check_collector(settings.model_copy(update={"audit_syslog": rsyslog.settings}))
        assert (found.verdict, found.words.endswith("speaks TLS")) == ("ok", True)
        strange = rsyslog.settings.model_copy(update={"tls": stranger})
        (found,) = check_collector(settings.model_copy(update={"audit_syslog": strange}))
        assert (found.verdict, "do not agree on TLS" in found.words) == ("fault", True)
    finally:
        rsyslog.stop()


def test_a_collector_that_is_away_is_named(settings: Settings, tmp_path: Path) -> None:
    tls = Authority(tmp_path / "authority").issue("node")
    away = AuditSyslog(host="127.0.0.1", port=free_port(), tls=tls)
    (found,) = check_collector(settings.model_copy(update={"audit_syslog": away}))
    assert (found.verdict, "nothing listens" in found.words) == ("fault", True)


@pytest.mark.parametrize("has_secret", [True, False])
def test_a_provider_that_cannot_be_used_is_named(has_secret: bool, settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    if has_secret:
        secret.write_text("s3cret")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf_issuer = f"http://127.0.0.1:{deaf.getsockname()[1]}"
    oidc = Oidc(issuer=deaf_issuer, client_id="page", client_secret_file=secret, roles={"r": "viewer"})
    (found,) = check_provider(settings.model_copy(update={"oidc": oidc, "page_url": "http://127.0.0.1"}))
    words = "the identity provider cannot be reached: connection refused" if has_secret else "client_secret_file"
    assert found.verdict == "fault"
    assert words in found.words
