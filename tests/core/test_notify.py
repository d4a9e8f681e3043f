"""Somebody is told once, and again when it is well; never of a patient, and whatever becomes of the service."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from authority import Authority
from doubles import NOON, FrozenClock
from rows import add_commitment, add_delivery, add_job, add_pull, add_report, add_study
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from waiting import LONG_S, free_port, in_threads

from dicom_node.audit_messages import LOGIN, Person, Process, user_authentication
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.failures import acknowledge
from dicom_node.lifecycle import advance
from dicom_node.models import Heartbeat
from dicom_node.notify import channel, conditions
from dicom_node.notify.conditions import Finding
from dicom_node.notify.telling import NoticeTeller, telling
from dicom_node.notify.working_time import working_s
from dicom_node.peers import AuditSyslog, Tls
from dicom_node.roles import roles_of
from dicom_node.states import CommitmentState, PullState

SECRET = "CANARY-TOKEN"
SUNDAY = NOON  # 1 March 2026
MONDAY = NOON + timedelta(days=1)


class Service:
    """A web hook that Apprise's json:// calls; it keeps what it is told, and answers as it is told to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.status = 200
        self.hangs = threading.Event()
        self.hangs.set()

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.told]

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Gives its address as Apprise writes it."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.hangs.wait(LONG_S)
                if service.status == 200:
                    service.told.append(said)
                self.send_response(service.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"json://127.0.0.1:{server.server_address[1]}/{SECRET}"
        finally:
            server.shutdown()
            server.server_close()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with service.listening() as address:
        yield address


def told(settings: Settings, url: str, **channel_fields: Any) -> Settings:
    """The settings with one channel. Its alarms are of a node that nobody sends anything to."""
    own = {"name": "oncall", "url": url, "on": ("failure", "silence", "backlog", "disk"), **channel_fields}
    return Settings(
        data_dir=settings.data_dir,
        min_free_bytes=0,
        notify=[own],
        page_url="https://node.example",
        alarms={"free_bytes": 0},
    )


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(MONDAY)


@pytest.fixture
def teller(settings: Settings, sessions: Sessions, url: str, clock: FrozenClock) -> NoticeTeller:
    return NoticeTeller(told(settings, url), sessions, clock)


def look(teller: NoticeTeller, clock: FrozenClock, times: int = 2) -> None:
    for _ in range(times):
        teller.tell()
        clock.forward(60)


def fail(sessions: Sessions, clock: FrozenClock) -> int:
    """A study that failed now."""
    with sessions.begin() as session:
        study = add_study(session, state="complete", last_received_at=clock(), patient_name="CANARY^PHI")
        add_job(session, study, state="failed", reason="undecodable")
        return study.id or 0


def test_a_failure_is_told_once_with_a_link_and_no_patient(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    study_id = fail(sessions, clock)
    look(teller, clock, times=5)
    (said,) = service.told
    assert said["title"] == "CXRNODE: failure"
    words = f"1 studies failed and wait for a person; the newest is study {study_id}."
    assert said["message"] == f"{words}\nhttps://node.example/studies/{study_id}"
    assert "CANARY" not in json.dumps(service.told)


def test_a_study_that_is_not_pulled_and_a_result_that_nobody_takes_are_told(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    with sessions.begin() as session:
        pull, commitment = add_pull(session, state="pulling"), add_commitment(session, state="sending")
        advance(session, pull, PullState.FAILED, now=clock())
        advance(session, commitment, CommitmentState.FAILED, now=clock())
    look(teller, clock, times=5)
    assert service.titles == ["CXRNODE: pull", "CXRNODE: commitment"]
    assert service.told[0]["message"].startswith("1 studies were not pulled: `dicom-node pull NAME`")
    clock.forward(8 * 86_400)
    with sessions.begin() as session:
        advance(session, session.merge(pull), PullState.PENDING, now=clock())
    look(teller, clock)
    assert service.titles[2:] == ["CXRNODE: pull is well again"]


def test_it_is_told_when_it_is_well_again(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    study_id = fail(sessions, clock)
    look(teller, clock)
    with sessions.begin() as session:
        acknowledge(session, study_id, clock())
    clock.forward(900)
    look(teller, clock, times=3)
    assert service.titles == ["CXRNODE: failure", "CXRNODE: failure is well again"]


def test_what_fails_later_is_told_but_not_before_a_quarter_of_an_hour(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    fail(sessions, clock)
    look(teller, clock)
    fail(sessions, clock)
    look(teller, clock)
    assert len(service.told) == 1
    clock.forward(900)
    look(teller, clock)
    assert [each["message"].split(" studies")[0] for each in service.told] == ["1", "2"]


def test_what_is_over_at_the_next_look_is_not_told(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    study_id = fail(sessions, clock)
    look(teller, clock, times=1)
    with sessions.begin() as session:
        acknowledge(session, study_id, clock())
    look(teller, clock)
    assert service.told == []


def test_a_restart_tells_nothing_again(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock, settings: Settings, url: str
) -> None:
    fail(sessions, clock)
    look(teller, clock)
    look(NoticeTeller(told(settings, url), sessions, clock), clock, times=3)
    assert len(service.told) == 1


def test_what_was_told_by_a_clock_that_was_ahead_silences_nobody(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    clock.forward(timedelta(days=365).total_seconds())
    fail(sessions, clock)
    look(teller, clock)
    clock.forward(-timedelta(days=365).total_seconds())
    fail(sessions, clock)
    look(teller, clock)
    assert service.titles == ["CXRNODE: failure"] * 2


def test_two_roles_tell_it_once(
    service: Service, sessions: Sessions, clock: FrozenClock, settings: Settings, url: str
) -> None:
    fail(sessions, clock)
    tellers = [NoticeTeller(told(settings, url), sessions, clock) for _ in range(2)]
    for teller in tellers:
        teller.tell()
    turns = iter(tellers)
    in_threads(lambda: next(turns).tell(), 2)
    assert len(service.told) == 1


def test_a_service_that_fails_is_tried_again_after_five_minutes(
    teller: NoticeTeller, service: Service, sessions: Sessions, clock: FrozenClock
) -> None:
    fail(sessions, clock)
    service.status = 500
    look(teller, clock, times=4)
    service.status = 200
    look(teller, clock, times=1)
    assert service.told == []
    clock.forward(300)
    look(teller, clock, times=1)
    assert service.titles == ["CXRNODE: failure"]


def test_a_service_that_hangs_holds_up_nothing(
    teller: NoticeTeller,
    service: Service,
    sessions: Sessions,
    clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(channel, "_LONGEST_S", 0.1)
    fail(sessions, clock)
    service.hangs.clear()
    look(teller, clock)
    clock.forward(300)
    look(teller, clock)  # while the first still hangs
    assert service.told == []
    service.hangs.set()
    assert "notification_hangs" in caplog.text


def test_nothing_of_the_address_is_logged(
    settings: Settings, sqlite_sessions: Sessions, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fail(sqlite_sessions, clock)
    for url in (f"json://127.0.0.1:{free_port()}/{SECRET}", f"nonsense://{SECRET}", f"slack://{SECRET}"):
        look(NoticeTeller(told(settings, url), sqlite_sessions, clock), clock)
        clock.forward(900)
    assert SECRET not in caplog.text
    assert SECRET not in str(told(settings, f"json://{SECRET}"))


def test_who_wants_to_hear_of_the_disk_alone_hears_of_nothing_else(
    settings: Settings, sqlite_sessions: Sessions, service: Service, url: str, clock: FrozenClock
) -> None:
    fail(sqlite_sessions, clock)
    settings.instances_dir.mkdir()
    alarms = settings.alarms.model_copy(update={"free_bytes": 10**18})
    full = told(settings, url, on=("disk",)).model_copy(update={"alarms": alarms})
    look(NoticeTeller(full, sqlite_sessions, clock), clock)
    assert service.titles == ["CXRNODE: disk"]
    assert "of the disk are free" in service.told[0]["message"]


def test_a_database_that_is_away_is_told_and_that_it_is_back(
    settings: Settings, sqlite_sessions: Sessions, service: Service, url: str, clock: FrozenClock, tmp_path: Path
) -> None:
    settings.instances_dir.mkdir()
    alarms = settings.alarms.model_copy(update={"free_bytes": 10**18})
    full = told(settings, url, on=("role",)).model_copy(update={"alarms": alarms})
    teller, away = NoticeTeller(full, sqlite_sessions, clock), create_engine(f"sqlite:///{tmp_path}/nowhere/x.sqlite")
    look(teller, clock, times=1)
    teller._sessions = Sessions(away)
    for status in (500, 500, 200, 200):
        service.status = status
        with pytest.raises(OperationalError):
            look(teller, clock, times=1)
    (said,) = service.told
    assert said["title"] == "CXRNODE: database"
    assert "The database does not answer: nothing is received, drafted or delivered. " in said["message"]
    assert "of the disk are free" in said["message"]  # why, perhaps
    teller._sessions = sqlite_sessions
    look(teller, clock, times=3)
    assert [title for title in service.titles if "database" in title] == [
        "CXRNODE: database",
        "CXRNODE: database is well again",
    ]
    away.dispose()


def finding(sessions: Sessions, settings: Settings, condition: str, now: datetime) -> Finding:
    with sessions() as session:
        return next(each for each in conditions.look(session, settings, now) if each.condition == condition)


@pytest.mark.parametrize(("hours", "is_raised"), [(3.9, False), (4.0, True)])
def test_silence_is_so_many_working_hours_without_an_image(
    hours: float, is_raised: bool, settings: Settings, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        add_study(session, last_received_at=MONDAY)
    found = finding(sessions, settings, "silence", MONDAY + timedelta(hours=hours))
    assert (found.is_raised, found.is_over) == (is_raised, not is_raised)


def test_an_image_of_a_clock_that_was_ahead_ends_no_silence(settings: Settings, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_study(session, last_received_at=MONDAY)
        add_study(session, last_received_at=MONDAY + timedelta(days=365))
    assert finding(sessions, settings, "silence", MONDAY + timedelta(hours=4)).is_raised


@pytest.mark.parametrize(("minutes", "is_raised", "is_over"), [(7, False, True), (14, False, False), (16, True, False)])
def test_an_audit_trail_that_its_collector_does_not_take_is_told_as_a_backlog(
    minutes: int, is_raised: bool, is_over: bool, settings: Settings, sessions: Sessions
) -> None:
    tls = Tls(certificate=Path("node.pem"), key=Path("node.key"), ca=Path("ca.pem"))
    shipped = settings.model_copy(update={"audit_syslog": AuditSyslog(host="collector", tls=tls)})
    login = user_authentication(Process("CXRNODE", 17), MONDAY, Person("CANARY", "10.1.2.3"), LOGIN)
    settings.audit_dir.mkdir()
    (settings.audit_dir / f"audit-{MONDAY:%Y-%m-%d}.log").write_text(f"{login}\n")
    now = MONDAY + timedelta(minutes=minutes)
    found = finding(sessions, shipped, "audit", now)
    assert (found.kind, found.is_raised, found.is_over) == ("backlog", is_raised, is_over)
    assert "CANARY" not in found.words
    assert finding(sessions, settings, "audit", now).is_over  # without a collector


def test_a_certificate_and_a_crl_that_end_soon_are_told(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    tls = authority.issue("node", days=30)
    authority.certificate.write_text(authority.certificate.read_text() + authority.revocations(hours=24))
    secured, now = settings.model_copy(update={"tls": tls}), datetime.now(UTC)
    for condition, last_good, first_bad in (
        ("certificate tls", timedelta(days=15), timedelta(days=17)),
        ("CRL tls", timedelta(hours=11), timedelta(hours=13)),
    ):
        good, bad = (finding(sqlite_sessions, secured, condition, now + each) for each in (last_good, first_bad))
        assert (good.kind, good.is_raised, good.is_over) == ("role", False, True)
        assert (bad.kind, bad.is_raised, bad.is_over) == ("role", True, False)
    bad = finding(sqlite_sessions, secured, "certificate tls", now + timedelta(days=28))
    assert bad.words in ("The certificate of tls ends in 2.0 days.", "The certificate of tls ends in 1.9 days.")
    ended = finding(sqlite_sessions, secured, "certificate tls", now + timedelta(days=31))
    assert ended.words == "The certificate of tls has ended."


def test_before_the_first_image_there_is_no_silence(settings: Settings, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions() as session:
        assert "silence" not in [each.condition for each in conditions.look(session, settings, NOON)]


@pytest.mark.parametrize(
    ("job", "minutes", "raised", "over"),
    [
        ({"state": "queued"}, 16, True, False),
        ({"state": "queued"}, 10, False, False),  # what was told stays told
        ({"state": "queued"}, 7, False, True),
        ({"state": "inferring"}, 60, False, True),
    ],
)
def test_a_backlog_is_a_study_that_waits_for_a_worker(
    job: dict[str, Any], minutes: int, raised: bool, over: bool, settings: Settings, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        add_job(session, **job)
    found = finding(sessions, settings, "backlog", NOON + timedelta(minutes=minutes))
    assert (found.is_raised, found.is_over) == (raised, over)


@pytest.mark.parametrize(
    ("columns", "raised"),
    [
        ({}, True),
        ({"attempts": 7, "due_at": NOON + timedelta(hours=1)}, True),  # tried again and again
        ({"attempts": 0, "due_at": NOON + timedelta(minutes=20)}, False),  # sent anew by an operator
        ({"state": "delivered"}, False),
    ],
)
def test_a_backlog_is_a_draft_that_waits_for_its_destination(
    columns: dict[str, Any], raised: bool, settings: Settings, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        add_delivery(session, add_report(session, add_job(session, state="reported")), **columns)
    found = finding(sessions, settings, "backlog", NOON + timedelta(minutes=20))
    assert found.is_raised is raised
    assert not raised or found.words == "Drafts wait for pacs for 20 minutes."


def test_a_role_that_is_gone_is_told_and_one_of_several_is_enough(settings: Settings, sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add(Heartbeat(role="worker", host="a", well_at=NOON - timedelta(hours=1)))
        session.add(Heartbeat(role="worker", host="b", well_at=NOON))
        session.add(Heartbeat(role="scp", host="a", well_at=NOON - timedelta(minutes=1)))
    with sessions() as session:
        raised = {each.condition for each in conditions.look(session, settings, NOON) if each.is_raised}
    assert raised == {f"role {role}" for role in roles_of(settings)} - {"role worker"}


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        (datetime(2026, 3, 2, 8, tzinfo=UTC), datetime(2026, 3, 2, 10, tzinfo=UTC), 2),
        (datetime(2026, 3, 6, 18, tzinfo=UTC), datetime(2026, 3, 9, 8, tzinfo=UTC), 2),  # over a weekend
        (datetime(2026, 3, 7, 0, tzinfo=UTC), datetime(2026, 3, 8, 23, tzinfo=UTC), 0),
        (datetime(2026, 3, 2, 10, tzinfo=UTC), datetime(2026, 3, 2, 8, tzinfo=UTC), 0),  # the clock was set back
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC), 21 * 12),  # a month counts
    ],
)
def test_only_working_hours_count(since: datetime, until: datetime, hours: float) -> None:
    days = ("mon", "tue", "wed", "thu", "fri")
    assert working_s(since, until, hours=(7, 19), days=days, zone=ZoneInfo("UTC")) == hours * 3_600


def test_working_hours_are_those_of_the_site_also_when_its_clocks_change() -> None:
    berlin, since = ZoneInfo("Europe/Berlin"), datetime(2026, 3, 28, 12, tzinfo=UTC)
    until = datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert working_s(since, until, hours=(7, 19), days=("sun",), zone=berlin) == 12 * 3_600


def test_without_channels_nobody_looks(settings: Settings, sqlite_sessions: Sessions) -> None:
    with telling(settings, sqlite_sessions):
        assert "notices" not in [thread.name for thread in threading.enumerate()]


def test_a_role_ends_whatever_its_channels_do(
    settings: Settings, sqlite_sessions: Sessions, url: str, service: Service
) -> None:
    service.hangs.clear()
    with telling(told(settings, url), sqlite_sessions):
        assert "notices" in [thread.name for thread in threading.enumerate()]
    service.hangs.set()
