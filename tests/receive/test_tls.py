"""TLS contexts: what they speak, with whom, and how they are renewed."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from errno import EMFILE
from pathlib import Path

import pytest
from authority import RSA_2048, Authority, replace
from doubles import FrozenClock
from foreign import require_peer, running
from waiting import LONG_S, free_port, wait_until

from dicom_node.certificates import crls_left, expires_at
from dicom_node.errors import Permanent
from dicom_node.peers import Tls
from dicom_node.tls import RenewingContext, client_context, server_context, words_of


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issued(authority: Authority) -> dict[str, Tls]:
    return {name: authority.issue(name) for name in ("server", "other", "client")}


@pytest.fixture
def own(issued: dict[str, Tls], tmp_path: Path) -> Tls:
    """Files of the server that a test may replace."""
    tls = Tls(certificate=tmp_path / "own.pem", key=tmp_path / "own.key", ca=tmp_path / "own-ca.pem")
    replace(tls, issued["server"])
    return tls


class Hand:
    """A timer put forward by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(server: ssl.SSLContext, client: Tls) -> bytes:
    """The certificate (DER) that the server shows to the client. Raises OSError if either turns the other away."""
    at_server, at_client = socket.socketpair()
    errors: list[OSError] = []

    def serve() -> None:
        try:
            with server.wrap_socket(at_server, server_side=True) as secured:
                secured.recv(1)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context(client).wrap_socket(at_client, server_hostname="127.0.0.1") as secured:
            certificate = secured.getpeercert(binary_form=True)
            secured.send(b"x")
    finally:
        thread.join(LONG_S)
        if errors:  # the client's are only what follows
            raise errors[0]
    assert certificate
    return certificate


def der(tls: Tls) -> bytes:
    return ssl.PEM_cert_to_DER_cert(tls.certificate.read_text())


@pytest.mark.parametrize("days", [2, 400, 20_000])  # the last is beyond 2049: another ASN.1 type
def test_the_end_of_a_certificate_is_read(days: int, authority: Authority) -> None:
    end = expires_at(authority.issue(f"days-{days}", days=days, key=RSA_2048).certificate)
    assert abs(end - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----", "MA=="])
def test_what_is_no_certificate_has_no_end(content: str, tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text(content)
    with pytest.raises(OSError, match=r"no certificate in broken\.pem"):
        expires_at(tmp_path / "broken.pem")


def test_the_end_of_crls_is_that_of_the_authority_whose_newest_ends_first(tmp_path: Path) -> None:
    one, other, now = Authority(tmp_path / "1", "One"), Authority(tmp_path / "2", "Other"), datetime.now(UTC)
    pem = tmp_path / "ca.pem"
    pem.write_text(one.certificate.read_text())
    assert crls_left(pem, now) is None
    pem.write_text(one.revocations(hours=0) + one.revocations(hours=48) + other.revocations(hours=24))
    left = crls_left(pem, now)
    assert left is not None
    assert abs(left - timedelta(hours=24)) < timedelta(minutes=5)
    pem.write_text("-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----")
    with pytest.raises(OSError, match=r"a CRL that is none in ca\.pem"):
        crls_left(pem, now)


def test_a_replaced_certificate_is_used_from_the_next_look_on(own: Tls, issued: dict[str, Tls]) -> None:
    timer = Hand()
    context = RenewingContext(own, server_context, timer=timer)
    replace(own, issued["other"])
    assert shown(context.current(), issued["client"]) == der(issued["server"])  # looks once a second at most
    timer.now = 1.0
    assert shown(context.current(), issued["client"]) == der(issued["other"])


def test_nothing_is_read_again_while_nothing_changes_but_once_a_day(own: Tls) -> None:
    """The daily one for new keys of session tickets (RFC 9325 3.4) and the warning of the end."""
    timer = Hand()
    context = RenewingContext(own, server_context, timer=timer)
    first = context.current()
    timer.now = 86_399.0
    assert context.current() is first
    timer.now = 86_400.5
    assert context.current() is not first


@pytest.mark.parametrize("name", ["certificate", "key", "ca"])
@pytest.mark.parametrize("content", [b"", b"garbage", None, "half"])
def test_a_broken_replacement_is_named_once_and_the_old_one_stays(
    content: bytes | str | None, name: str, own: Tls, issued: dict[str, Tls], caplog: pytest.LogCaptureFixture
) -> None:
    timer, file = Hand(), getattr(own, name)
    context = RenewingContext(own, server_context, timer=timer)
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[:100] if isinstance(content, str) else content)
    for second in range(1, 4):
        timer.now = float(second)
        assert shown(context.current(), issued["client"]) == der(issued["server"])
    assert caplog.text.count("certificate_not_renewed") == 1
    file.write_bytes(whole)
    timer.now = 4.0
    context.current()
    assert caplog.text.count("certificate_loaded") == 2


def test_what_could_not_be_read_for_a_while_is_read_a_minute_later(
    own: Tls, issued: dict[str, Tls], caplog: pytest.LogCaptureFixture
) -> None:
    timer, faults = Hand(), iter([None, EMFILE, EMFILE, None])

    def make(tls: Tls) -> ssl.SSLContext:
        if (fault := next(faults)) is not None:
            raise OSError(fault, "Too many open files")
        return server_context(tls)

    context = RenewingContext(own, make, timer=timer)
    replace(own, issued["other"])
    for now in (1.0, 2.0, 61.0, 121.0):
        timer.now = now
        assert shown(context.current(), issued["client"]) == der(issued["other" if now == 121.0 else "server"])
    assert caplog.text.count("certificate_not_renewed") == 1


def test_a_certificate_without_its_key_waits_for_the_key(own: Tls, issued: dict[str, Tls]) -> None:
    timer = Hand()
    context = RenewingContext(own, server_context, timer=timer)
    shutil.copyfile(issued["other"].certificate, own.certificate)
    timer.now = 1.0
    assert shown(context.current(), issued["client"]) == der(issued["server"])
    shutil.copyfile(issued["other"].key, own.key)
    timer.now = 2.0
    assert shown(context.current(), issued["client"]) == der(issued["other"])


def test_an_encrypted_key_is_an_error_and_asks_nobody(own: Tls, issued: dict[str, Tls]) -> None:
    encrypt = ["openssl", "pkey", "-in", issued["server"].key, "-aes256", "-passout", "pass:secret", "-out", own.key]
    subprocess.run(encrypt, check=True, capture_output=True, timeout=60)
    with pytest.raises(Permanent, match="make no TLS"):
        RenewingContext(own, server_context)


def test_files_that_cannot_be_used_at_start_are_named(own: Tls) -> None:
    own.ca.unlink()
    with pytest.raises(Permanent, match=r"own\.pem, .*own\.key and .*own-ca\.pem make no TLS: no such file"):
        RenewingContext(own, server_context)


@pytest.mark.parametrize(("days_before", "level"), [(13.9, "warning"), (-1, "warning"), (14.1, "info")])
def test_a_certificate_that_ends_within_14_days_is_a_warning(
    days_before: float, level: str, own: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FrozenClock(expires_at(own.certificate) - timedelta(days=days_before))
    RenewingContext(own, server_context, clock=clock)
    assert f'"due_in_s": {round(days_before * 86_400)}' in caplog.text
    assert f'"event": "certificate_loaded", "level": "{level}"' in caplog.text


def test_a_revoked_certificate_is_refused_when_the_authoritys_list_is_there(
    own: Tls, authority: Authority, issued: dict[str, Tls]
) -> None:
    revoked = authority.issue("revoked")
    assert shown(server_context(own), revoked)
    own.ca.write_text(own.ca.read_text() + authority.revocations(revoked))
    assert shown(server_context(own), issued["client"])
    with pytest.raises(OSError, match="revoked") as caught:
        shown(server_context(own), revoked)
    assert words_of(caught.value) == "certificate revoked"


@contextmanager
def s_server(own: Tls, *options: str) -> Iterator[int]:
    """openssl as the other end; gives its port."""
    port = free_port()
    files = ["-cert", str(own.certificate), "-key", str(own.key), "-CAfile", str(own.ca)]
    with running([require_peer("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", *files, *options]):
        wait_until(lambda: _is_open(port), "openssl listens")
        yield port


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def connect(port: int, client: Tls, host: str = "127.0.0.1") -> str | None:
    """The TLS version spoken."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as plain,
        client_context(client).wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.version()


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_we_connect_by_tls_1_2_and_1_3(option: str, version: str, issued: dict[str, Tls]) -> None:
    with s_server(issued["server"], option) as port:
        assert connect(port, issued["client"]) == version


@pytest.mark.parametrize(
    "options",
    [
        ["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"],
        ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-RSA-NULL-SHA@SECLEVEL=0"],
    ],
    ids=["TLS 1.0", "TLS 1.1", "no forward secrecy", "DHE", "CBC", "no encryption"],
)
def test_we_do_not_connect_by_less_than_bcp_195(options: list[str], authority: Authority, tmp_path: Path) -> None:
    server = authority.issue("rsa-server", key=RSA_2048)
    with s_server(server, *options) as port, pytest.raises(ssl.SSLError):
        connect(port, authority.issue("client"))


def test_we_do_not_connect_to_another_host_a_stranger_or_an_ended_certificate(
    authority: Authority, issued: dict[str, Tls], tmp_path: Path
) -> None:
    with s_server(issued["server"]) as port, pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        connect(port, issued["client"], "pacs.example")
    with s_server(Authority(tmp_path).issue("stranger")) as port, pytest.raises(ssl.SSLCertVerificationError):
        connect(port, issued["client"])
    with s_server(authority.issue("ended", days=-1)) as port, pytest.raises(ssl.SSLError, match="expired"):
        connect(port, issued["client"])
