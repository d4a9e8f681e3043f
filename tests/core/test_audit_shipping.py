"""The audit trail's way to a collector: nothing is lost, whoever dies."""

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from audit_schema import violations
from authority import Authority
from collectors import Rsyslog
from doubles import NOON, FrozenClock
from rows import only
from waiting import wait_until

from dicom_node.audit import AuditTrail
from dicom_node.audit_files import Place, read_on
from dicom_node.audit_messages import LOGIN, Person, Process, user_authentication
from dicom_node.audit_shipping import AuditShipping, waiting_s
from dicom_node.audit_syslog import frame, send
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Shipped
from dicom_node.peers import AuditSyslog, Tls
from dicom_node.tls import server_context

NODE = Process("CXRNODE", 17)
TODAY = "audit-2026-03-01.log"


def message(number: int) -> str:
    return user_authentication(NODE, NOON, Person(f"person-{number:06}", "10.1.2.3"), LOGIN)


def write(folder: Path, numbers: range, name: str = TODAY) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a", encoding="utf-8") as file:
        file.writelines(f"{message(number)}\n" for number in numbers)


def numbers_in(lines: list[str]) -> list[int]:
    """Of the messages, in the order they came."""
    return [int(number) for line in lines for number in re.findall(r"person-(\d{6})", line)]


# What goes over the wire


def test_a_frame_is_octet_counted_syslog_in_utf_8() -> None:
    text = user_authentication(NODE, NOON, Person("Jörg", "10.1.2.3"), LOGIN)
    framed = frame(text.encode(), "node 1\n")
    count, _, syslog = framed.partition(b" ")
    assert int(count) == len(syslog)
    header = b"<85>1 2026-03-01T12:00:00.000+00:00 node?1? dicom-node - DICOM+RFC3881 - \xef\xbb\xbf<AuditMessage>"
    assert syslog.startswith(header)
    assert syslog.endswith(b"\xef\xbb\xbf" + text.encode())


def test_what_is_no_audit_message_goes_without_a_time() -> None:
    assert frame(b"cut sh", "node") == b"51 <85>1 - node dicom-node - DICOM+RFC3881 - \xef\xbb\xbfcut sh"


# The files


def test_the_files_are_read_in_order_to_their_end_and_on(tmp_path: Path) -> None:
    write(tmp_path, range(2), "audit-2026-02-28.log")
    write(tmp_path, range(2, 4))
    (tmp_path / "shipped.txt").write_text("something else\n")
    place, read = Place(), []
    while True:
        messages, place = read_on(tmp_path, place, NOON)
        read += messages
        if not messages:
            break
    assert numbers_in([each.decode() for each in read]) == [0, 1, 2, 3]
    write(tmp_path, range(4, 5))
    messages, place = read_on(tmp_path, place, NOON)
    assert [each.decode() for each in messages] == [message(4)]
    assert place.offset == (tmp_path / TODAY).stat().st_size


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    write(tmp_path, range(1))
    with (tmp_path / TODAY).open("a") as file:
        file.write(message(1)[:40])
        file.flush()
        messages, place = read_on(tmp_path, Place(), NOON)
        assert len(messages) == 1
        file.write(f"{message(1)[40:]}\n")
    assert read_on(tmp_path, place, NOON)[0] == [message(1).encode()]


def test_a_file_that_was_moved_away_and_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    write(tmp_path, range(1))
    _, place = read_on(tmp_path, Place(), NOON)
    (tmp_path / TODAY).rename(tmp_path / "archived.log")
    write(tmp_path, range(1, 3))
    assert len(read_on(tmp_path, place, NOON)[0]) == 2


def test_a_new_day_is_begun_when_nothing_of_the_old_one_can_come_any_more(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    write(tmp_path, range(1))
    write(tmp_path, range(2, 3), "audit-2026-03-02.log")
    _, place = read_on(tmp_path, Place(), midnight)
    assert read_on(tmp_path, place, midnight + timedelta(minutes=4))[0] == []
    write(tmp_path, range(1, 2))  # was waiting over midnight
    messages, place = read_on(tmp_path, place, midnight + timedelta(minutes=6))
    messages += read_on(tmp_path, place, midnight + timedelta(minutes=6))[0]
    assert numbers_in([each.decode() for each in messages]) == [1, 2]


def test_a_clock_that_was_ahead_ends_nothing(tmp_path: Path) -> None:
    write(tmp_path, range(1))
    write(tmp_path, range(1, 2), "audit-2027-03-01.log")
    place = Place()
    for _ in range(2):
        _, place = read_on(tmp_path, place, NOON + timedelta(days=365))
    write(tmp_path, range(2, 3))
    assert place.file == "audit-2027-03-01.log"
    read: list[bytes] = []
    for now in (NOON, NOON + timedelta(days=1)):
        messages, place = read_on(tmp_path, place, now)
        read += messages
        write(tmp_path, range(3, 4), "audit-2026-03-02.log")
    assert numbers_in([each.decode() for each in read]) == [0, 2, 3]  # of today, some twice


def test_a_line_of_whatever_length_is_read(tmp_path: Path) -> None:
    long = b"<" + b"x" * 1_000_000 + b">"
    (tmp_path / TODAY).write_bytes(long + b"\n")
    write(tmp_path, range(1))
    messages, place = read_on(tmp_path, Place(), NOON)
    assert messages == [long]
    assert read_on(tmp_path, place, NOON)[0] == [message(0).encode()]


# To a collector that nobody here wrote


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    collector = Rsyslog(tmp_path)
    collector.start()
    yield collector
    collector.stop()


def shipping_of(settings: Settings, sessions: Sessions, collector: AuditSyslog, **clocks: Any) -> AuditShipping:
    return AuditShipping(settings, collector, sessions, FrozenClock(), **clocks)


def ship_all(shipping: AuditShipping) -> None:
    while shipping.ship():
        pass


def test_rsyslog_gets_what_the_trail_writes_as_it_stands(
    settings: Settings, sessions: Sessions, rsyslog: Rsyslog
) -> None:
    trail = AuditTrail(settings.audit_dir, "CXRNODE", FrozenClock())
    trail.authenticated(Person("Jörg <&>", "10.1.2.3"), LOGIN, "the password is wrong")
    trail.stopped()
    ship_all(shipping_of(settings, sessions, rsyslog.settings))
    written = (settings.audit_dir / TODAY).read_text(encoding="utf-8").splitlines()
    heads = [line.partition("<AuditMessage>")[0] for line in rsyslog.lines()]
    assert heads == ["authpriv.notice DICOM+RFC3881 dicom-node 2026-03-01T12:00:00.000+00:00 \ufeff"] * 2
    assert [line.partition("\ufeff")[2] for line in rsyslog.lines()] == written
    assert [violations(line) for line in written] == [[], []]


def test_what_was_written_while_the_collector_was_away_arrives_once_and_in_order(
    settings: Settings, sessions: Sessions, rsyslog: Rsyslog, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    shipping = shipping_of(settings, sessions, rsyslog.settings, timer=lambda: now[0])
    write(settings.audit_dir, range(10))
    ship_all(shipping)
    rsyslog.kill()
    write(settings.audit_dir, range(10, 2_000))
    for _ in range(3):
        assert not shipping.ship()
        now[0] += 11
    assert caplog.text.count("audit_not_sent") == 1
    assert "connection refused" in caplog.text
    rsyslog.start()
    ship_all(shipping)
    assert "audit_sent_again" in caplog.text
    assert numbers_in(rsyslog.lines()) == list(range(2_000))


SHIP = """
import threading
from dicom_node.audit_shipping import AuditShipping, waiting_s
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, open_database
settings = Settings()
shipping = AuditShipping(settings, settings.audit_syslog, Sessions(open_database(settings)), utc_now)
print("ships", flush=True)
while not threading.Event().wait(0.02):
    shipping._again_at = 0.0
    shipping.ship()
"""


@pytest.mark.kill
def test_every_message_arrives_in_order_whoever_is_killed(
    settings: Settings, sqlite_sessions: Sessions, rsyslog: Rsyslog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of the shipper, then of the collector, again and again, while messages are written."""
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("DICOM_NODE_AUDIT_SYSLOG", rsyslog.settings.model_dump_json())
    written = 0
    for turn in range(6):
        shipper = subprocess.Popen([sys.executable, "-c", SHIP], stdout=subprocess.PIPE)
        assert shipper.stdout is not None
        assert shipper.stdout.readline() == b"ships\n"
        for _ in range(10):
            write(settings.audit_dir, range(written, written + 400))
            written += 400
        if turn % 2:
            rsyslog.kill()
            rsyslog.start()
        here = len(rsyslog.lines())
        wait_until(lambda here=here: len(rsyslog.lines()) > here, "some arrive")
        shipper.kill()
        shipper.wait()
        shipper.stdout.close()
    ship_all(AuditShipping(settings, rsyslog.settings, sqlite_sessions, lambda: NOON + timedelta(days=9_999)))
    came = numbers_in(rsyslog.lines())
    first = {number: came.index(number) for number in sorted(set(came))}
    assert list(first) == list(range(written))  # at least once
    assert list(first.values()) == sorted(first.values())  # in order


def test_what_waits_for_the_collector_is_as_old_as_its_oldest_message(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    later = NOON + timedelta(hours=2)
    with careless(tmp_path, lambda secured: secured.unwrap()) as collector:
        settings = settings.model_copy(update={"audit_syslog": collector})
        write(settings.audit_dir, range(3))
        with sqlite_sessions() as session:
            assert waiting_s(session, settings, later) == 7_200
            assert waiting_s(session, settings.model_copy(update={"audit_syslog": None}), later) == 0
        with sqlite_sessions.begin() as session:
            _, after = read_on(settings.audit_dir, Place(), later)
            session.add(Shipped(stream="audit", file=after.file, inode=after.inode, position=after.offset))
        with sqlite_sessions() as session:
            assert waiting_s(session, settings, later) == 0


# To collectors that do not do as they should


@contextmanager
def careless(tmp_path: Path, answer: Callable[[ssl.SSLSocket], object]) -> Iterator[AuditSyslog]:
    """A collector that takes one connection after the other and does this with each."""
    authority = Authority(tmp_path / "careless")
    context = server_context(authority.issue("collector"))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                try:
                    with context.wrap_socket(client, server_side=True) as secured:
                        answer(secured)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield AuditSyslog(host="127.0.0.1", port=listening.getsockname()[1], tls=authority.issue("node"))
        listening.shutdown(socket.SHUT_RDWR)


def _take_a_little_and_go(secured: ssl.SSLSocket) -> None:
    secured.recv(10)


def _take_all_and_say_nothing(secured: ssl.SSLSocket) -> None:
    while secured.recv(65_536):
        pass
    os.close(secured.detach())


@pytest.mark.parametrize("answer", [_take_a_little_and_go, _take_all_and_say_nothing])
def test_who_does_not_say_that_all_was_read_is_sent_it_again(
    answer: Callable[[ssl.SSLSocket], object], settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    write(settings.audit_dir, range(100))
    with careless(tmp_path, answer) as collector:
        assert not shipping_of(settings, sqlite_sessions, collector).ship()
    with sqlite_sessions() as session:
        assert session.get(Shipped, "audit") is None


def test_nothing_is_sent_to_a_collector_of_another_authority(tmp_path: Path) -> None:
    other = Authority(tmp_path / "other").issue("node")
    heard: list[bytes] = []
    with careless(tmp_path, lambda secured: heard.append(secured.recv(10))) as collector:
        trusting_another = collector.model_copy(update={"tls": Tls(**{**collector.tls.model_dump(), "ca": other.ca})})
        with pytest.raises(ssl.SSLCertVerificationError):
            send(trusting_another, [b"<AuditMessage/>"])
    assert heard == []


def test_of_two_that_ship_at_once_neither_takes_the_place_back(
    settings: Settings, sessions: Sessions, tmp_path: Path
) -> None:
    write(settings.audit_dir, range(3))
    with careless(tmp_path, lambda secured: (secured.recv(65_536), secured.unwrap())) as collector:
        one, other = (shipping_of(settings, sessions, collector) for _ in range(2))
        ship_all(one)
        stale = other._place()
        write(settings.audit_dir, range(3, 6))
        ship_all(one)
        place = only(sessions, Shipped).position
        other._move(stale, Place(stale.file, stale.inode, stale.offset + 1))
    assert only(sessions, Shipped).position == place == (settings.audit_dir / TODAY).stat().st_size
