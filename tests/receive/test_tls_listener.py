"""The DICOM port over TLS: by which profiles, with whose certificates, renewed while it runs, and blocked by nobody."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import pytest
from authority import RSA_1024, RSA_2048, Authority, fingerprint
from doubles import FrozenClock
from films import write_dx
from foreign import require_peer
from pynetdicom.association import Association
from raw_peer import ACCEPTED, REJECTED, RawPeer, association_request
from rows import only
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance
from dicom_node.peers import Peer, Tls
from dicom_node.receive import listener
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import bound_port
from dicom_node.receive.scp import VERIFICATION, start_server
from dicom_node.requestor import Requestor
from dicom_node.storage import InstanceStore
from dicom_node.tls import client_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> Tls:
    """RSA, so that also a sender of the old ciphers finds one that fits the certificate."""
    return authority.issue("server", key=RSA_2048)


@pytest.fixture(scope="module")
def client_tls(authority: Authority) -> Tls:
    return authority.issue("client", key=RSA_2048)


@pytest.fixture
def secure(settings: Settings, server_tls: Tls) -> Settings:
    return settings.model_copy(update={"tls": server_tls})


@contextmanager
def listening(settings: Settings, sessions: Sessions) -> Iterator[int]:
    server = start_server(settings, Receiver(InstanceStore(settings.instances_dir), sessions, FrozenClock()))
    try:
        yield bound_port(server)
        wait_until(lambda: not server.active_associations, "all that happened is told")
    finally:
        server.shutdown()


@pytest.fixture
def port(secure: Settings, sqlite_sessions: Sessions) -> Iterator[int]:
    with listening(secure, sqlite_sessions) as port:
        yield port


@contextmanager
def associated(port: int, client: Tls) -> Iterator[Association]:
    ae = Requestor("MODALITY", timeout_s=LONG_S)
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", port, ae_title="CXRNODE", tls_args=(client_context(client), "127.0.0.1"))
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def answer(port: int, client: Tls, *, calling: str = "MODALITY") -> int:
    """The type of the PDU that answers a request for an association; 0 if none does."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as plain,
            client_context(client).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            secured.sendall(association_request(calling))
            return next(iter(secured.recv(1)), 0)
    except (ssl.SSLError, ConnectionError):
        return 0


def is_served(port: int, client: Tls) -> bool:
    return answer(port, client) == ACCEPTED


def echoscu(port: int, client: Tls, *options: str) -> subprocess.CompletedProcess[str]:
    return _dcmtk("echoscu", client, *options, "-to", "10", "127.0.0.1", str(port))


def _dcmtk(program: str, client: Tls, *options: str) -> subprocess.CompletedProcess[str]:
    secure = ["+tls", str(client.key), str(client.certificate), "+cf", str(client.ca), "-aec", "CXRNODE"]
    command = [require_peer(program), *secure, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_stores_by_the_bcp_195_profiles(
    profile: str, port: int, client_tls: Tls, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    """BCP 195 non-downgrading, BCP 195, extended (PS3.15 B.10, B.9, B.11)."""
    film = write_dx(tmp_path / "film.dcm")
    done = _dcmtk("storescu", client_tls, profile, "127.0.0.1", str(port), str(film))
    assert done.returncode == 0, done.stderr
    assert only(sqlite_sessions, Instance).id


@pytest.mark.parametrize("profile", ["+pa", "+pn"])
def test_dcmtk_is_refused_by_the_retired_profiles(
    profile: str, port: int, client_tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    """AES without forward secrecy, and authenticated without encryption."""
    assert echoscu(port, client_tls, profile).returncode != 0
    wait_until(lambda: "no shared cipher" in caplog.text, "the refusal is logged")


def s_client(port: int, *options: str) -> bytes:
    """What the port answers to a request for an association that comes through openssl."""
    command = [require_peer("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        stdin, stdout = cast(IO[bytes], client.stdin), cast(IO[bytes], client.stdout)
        try:
            stdin.write(association_request("MODALITY"))
            stdin.flush()
            answer = stdout.read(1)
        except BrokenPipeError:  # it was refused meanwhile
            answer = b""
        finally:
            client.kill()
            with ExitStack() as quietly:
                quietly.push(lambda kind, *_: kind is BrokenPipeError)
                stdin.close()
    return answer


def with_files(client: Tls) -> tuple[str, ...]:
    return ("-cert", str(client.certificate), "-key", str(client.key), "-CAfile", str(client.ca))


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1_3",),
        ("-tls1_2",),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("-tls1_3", "-groups", "P-256"),
        ("-tls1_2", "-groups", "X25519"),
    ],
    ids=" ".join,
)
def test_what_bcp_195_recommends_is_spoken(options: tuple[str, ...], port: int, client_tls: Tls) -> None:
    assert s_client(port, *options, *with_files(client_tls)) == bytes([ACCEPTED])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("-tls1", "-cipher", "DEFAULT@SECLEVEL=0"), "unsupported protocol"),
        (("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), "unsupported protocol"),
        (("-tls1_2", "-cipher", "AES128-GCM-SHA256"), "no shared cipher"),
        (("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"), "no shared cipher"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"), "no shared cipher"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-NULL-SHA@SECLEVEL=0"), "no shared cipher"),
        (("-tls1_2", "-cipher", "AECDH-AES128-SHA@SECLEVEL=0"), "no shared cipher"),
    ],
    ids=["TLS 1.0", "TLS 1.1", "no forward secrecy", "DHE", "CBC", "no encryption", "anonymous"],
)
def test_what_bcp_195_forbids_is_refused(
    options: tuple[str, ...], why: str, port: int, client_tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    assert s_client(port, *options, *with_files(client_tls)) == b""
    wait_until(lambda: f'"reason": "{why}"' in caplog.text, f"the log says {why}")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_who_shows_no_certificate_is_refused(version: str, port: int, caplog: pytest.LogCaptureFixture) -> None:
    assert s_client(port, version) == b""
    wait_until(lambda: "peer did not return a certificate" in caplog.text, "the refusal is logged")


def test_renegotiation_is_refused(port: int, client_tls: Tls) -> None:
    """RFC 9325 3.5. `R` at the start of a line makes openssl ask for it."""
    options = ["s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", *with_files(client_tls)]
    command = [require_peer("openssl"), *options]
    done = subprocess.run(command, input="R\n", capture_output=True, text=True, check=False, timeout=60)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stderr


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("ended", "certificate has expired"),
        ("another authority", "self-signed certificate in certificate chain"),
        ("short key", "EE certificate key too weak"),
    ],
)
def test_whose_certificate_is_not_good_is_refused(
    kind: str, why: str, port: int, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {
        "ended": lambda: authority.issue("ended", days=-1),
        "another authority": lambda: Authority(tmp_path).issue("client"),
        "short key": lambda: authority.issue("short", key=RSA_1024),
    }[kind]()
    # openssl s_client, which looks at its own certificate less closely than we look at ours
    assert s_client(port, *with_files(bad), "-cipher", "DEFAULT@SECLEVEL=0") == b""
    wait_until(lambda: f'"reason": "{why}"' in caplog.text, f"the log says {why}")
    assert '"event": "handshake_refused"' in caplog.text


@pytest.mark.parametrize("receive_path", ["fast", "plain"])
def test_a_calling_ae_title_is_tied_to_its_certificate(
    receive_path: str, secure: Settings, authority: Authority, client_tls: Tls, sqlite_sessions: Sessions,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    other = authority.issue("other")
    peers = {
        "MODALITY": Peer(certificate_sha256=(fingerprint(client_tls),)),
        "PACS": Peer(certificate_sha256=(fingerprint(other), "0" * 64)),
        "ANY": Peer(),
    }
    strict = secure.model_copy(update={"peers": peers, "receive_path": receive_path})
    with listening(strict, sqlite_sessions) as port:
        assert [answer(port, each) for each in (client_tls, other)] == [ACCEPTED, REJECTED]
        assert answer(port, client_tls, calling="PACS") == REJECTED
        assert [answer(port, other, calling=calling) for calling in ("PACS", "ANY")] == [ACCEPTED, ACCEPTED]
    assert caplog.text.count("certificate is not one of the calling AE title") == 2
    assert caplog.text.count('"code": "1/1/3"') == 2


@pytest.fixture
def own(server_tls: Tls, tmp_path: Path) -> Tls:
    """The server's files, which a test may replace."""
    for name in ("certificate", "key", "ca"):
        shutil.copyfile(getattr(server_tls, name), tmp_path / name)
    return Tls(certificate=tmp_path / "certificate", key=tmp_path / "key", ca=tmp_path / "ca")


def shown(port: int, client: Tls) -> bytes | None:
    """The certificate (DER) that the port shows."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=LONG_S) as plain,
        client_context(client).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        return secured.getpeercert(binary_form=True)


def test_a_new_certificate_is_shown_to_whoever_comes_and_who_is_there_stays(
    own: Tls, settings: Settings, authority: Authority, client_tls: Tls, sqlite_sessions: Sessions
) -> None:
    secure = settings.model_copy(update={"tls": own})
    with listening(secure, sqlite_sessions) as port, associated(port, client_tls) as assoc:
        before, new = shown(port, client_tls), authority.issue("new")
        shutil.copyfile(new.certificate, own.certificate)  # in place, and one after the other
        assert shown(port, client_tls) == before
        shutil.copyfile(new.key, own.key)
        wait_until(lambda: shown(port, client_tls) != before, "the new certificate is shown")
        assert assoc.send_c_echo().Status == 0x0000


def test_a_new_authority_lets_others_in_and_the_former_ones_no_more(
    own: Tls, settings: Settings, client_tls: Tls, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    new = Authority(tmp_path / "new")
    newcomer = new.issue("newcomer").model_copy(update={"ca": client_tls.ca})
    with listening(settings.model_copy(update={"tls": own}), sqlite_sessions) as port:
        assert [is_served(port, each) for each in (client_tls, newcomer)] == [True, False]
        new.certificate.replace(own.ca)
        wait_until(lambda: is_served(port, newcomer), "the newcomer is served")
        assert not is_served(port, client_tls)


def test_a_broken_certificate_stops_nobody(
    own: Tls, settings: Settings, client_tls: Tls, sqlite_sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(settings.model_copy(update={"tls": own}), sqlite_sessions) as port:
        own.certificate.write_text("half a certif")
        wait_until(lambda: is_served(port, client_tls) and "certificate_not_renewed" in caplog.text, "it is noticed")
        assert is_served(port, client_tls)


def test_fifty_silent_connections_hold_up_nobody_and_are_hung_up_on(port: int, client_tls: Tls) -> None:
    require_peer("echoscu")
    assert is_served(port, client_tls)  # what is made at the first association is made
    before = descriptors()
    with ExitStack() as silent:
        held = [silent.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(50)]
        began = time.monotonic()
        done = echoscu(port, client_tls)
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stderr
        assert seconds < 5, "not before the handshakes of the silent ones have timed out"
        for each in held:
            each.settimeout(LONG_S)
            assert each.recv(1) == b""
    wait_until(lambda: descriptors() <= before, "no descriptor is kept")


def test_silent_connections_of_many_addresses_are_bounded_together(
    port: int, client_tls: Tls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener, "MOST_SILENT_IN_ALL", 4)
    with ExitStack() as silent:
        for number in range(1, 5):
            silent.enter_context(RawPeer(port, source=f"127.0.0.{number}"))
        wait_until(lambda: not is_served(port, client_tls), "there is no room for one more")
    wait_until(lambda: is_served(port, client_tls), "there is room again")
    assert "too many connections that ask for nothing" in caplog.text


def test_who_shakes_hands_slowly_has_no_more_time_than_who_is_silent(port: int, client_tls: Tls) -> None:
    """One byte a tenth of a second: the time-out is for the whole handshake, not for a read."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as slow:
        began = time.monotonic()
        slow.sendall(b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03")  # the beginning of a long ClientHello

        def is_hung_up_on() -> bool:
            try:
                slow.sendall(b"\x00")
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_hung_up_on, "the port hangs up")
        assert 4 < time.monotonic() - began < 12


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_who_shakes_hands_when_the_receiver_stops_is_served(
    secure: Settings, sqlite_sessions: Sessions, client_tls: Tls
) -> None:
    receiver = Receiver(InstanceStore(secure.instances_dir), sqlite_sessions, FrozenClock())
    server = start_server(secure, receiver)
    with (
        socket.create_connection(("127.0.0.1", bound_port(server)), timeout=LONG_S) as plain,
        ThreadPoolExecutor() as threads,
    ):
        wait_until(server._silent, "its connection is accepted")
        stopping = threads.submit(server.shutdown)
        wait_until(lambda: server._port.listening.fileno() < 0, "nobody else comes in")
        with client_context(client_tls).wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            secured.sendall(association_request("MODALITY"))
            assert secured.recv(1)[0] == ACCEPTED
        stopping.result()
