"""What Prometheus is told: right, cheap, and nothing of a patient."""

import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from authority import Authority
from doubles import NOON, FrozenClock
from foreign import require_peer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from rows import add_commitment, add_delivery, add_instance, add_job, add_pull, add_report, add_study, only, receive
from sqlalchemy import Engine, event

from dicom_node.config import Settings
from dicom_node.database import SCHEMA_REVISION, Sessions
from dicom_node.failures import acknowledge
from dicom_node.lifecycle import advance, note
from dicom_node.metrics.collector import NodeCollector
from dicom_node.models import Heartbeat, Series
from dicom_node.operator import retry
from dicom_node.peers import DicomDestination, MllpDestination, Peer, PeerAddress, Tls
from dicom_node.states import CommitmentState, DeliveryState, JobState, PullState, StudyState

SETTLED_S = 60.0
Found = Mapping[tuple[str, ...], float]


class Scraper:
    """Prometheus, as far as this node can tell."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self.clock = FrozenClock()
        self._registry = CollectorRegistry()
        self._registry.register(NodeCollector(settings, sessions, self.clock))

    def scrape(self) -> str:
        return generate_latest(self._registry).decode()

    def __getitem__(self, name: str) -> Found:
        """The samples of one name, by the values of their labels (which are sorted), from a scrape of its own."""
        families = text_string_to_metric_families(self.scrape())
        samples = [sample for family in families for sample in family.samples if sample.name == f"dicom_node_{name}"]
        return {tuple(sample.labels.values()): sample.value for sample in samples}


PACS = DicomDestination(name="pacs", ae_title="PACS", host="pacs")
RIS = MllpDestination(name="ris", host="ris")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    settings.instances_dir.mkdir()
    return settings.model_copy(update={"pacs": (PACS,), "ris": (RIS,)})


@pytest.fixture
def scraper(settings: Settings, sessions: Sessions) -> Scraper:
    return Scraper(settings, sessions)


def test_an_empty_node_has_its_numbers(scraper: Scraper) -> None:
    assert scraper["studies_receiving"] == {(): 0}
    assert scraper["jobs"] == {("queued",): 0, ("inferring",): 0, ("reported",): 0, ("failed",): 0}
    assert scraper["oldest_queued_job_seconds"] == {(): 0}
    assert scraper["oldest_pending_delivery_seconds"] == {("pacs",): 0, ("ris",): 0}
    assert scraper["deliveries"]["ris", "oru", "pending"] == 0
    assert scraper["last_object_age_seconds"] == {}
    assert scraper["drafts_total"] == {(): 0}
    assert scraper["disk_free_bytes"][()] > scraper["disk_kept_back_bytes"][()]
    assert all(SCHEMA_REVISION in labels for labels in scraper["build_info"])


def test_what_waits_is_counted_with_the_age_of_the_oldest(scraper: Scraper, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_study(session)
        add_study(session, state=StudyState.COMPLETE, last_received_at=NOON + timedelta(seconds=30))
        add_job(session, due_at=NOON)
        add_job(session, due_at=NOON + timedelta(seconds=90))
        add_job(session, state=JobState.FAILED)
        add_job(session, state=JobState.DONE)
        add_delivery(session, created_at=NOON + timedelta(seconds=70))
        add_delivery(session, state=DeliveryState.SENDING, created_at=NOON + timedelta(seconds=40))
        add_delivery(session, state=DeliveryState.FAILED)
        add_delivery(session, state=DeliveryState.DELIVERED, destination="ris", kind="oru")
        add_delivery(session, destination="old-pacs")
    scraper.clock.forward(100)
    assert scraper["studies_receiving"] == {(): 10}
    assert scraper["last_object_age_seconds"] == {(): 70}
    assert scraper["jobs"]["queued",] == 2
    assert scraper["jobs"]["failed",] == 1
    assert scraper["oldest_queued_job_seconds"] == {(): 100}
    assert scraper["oldest_pending_delivery_seconds"] == {("pacs",): 60, ("ris",): 0, ("old-pacs",): 100}
    deliveries = scraper["deliveries"]
    assert {labels: count for labels, count in deliveries.items() if count} == {
        ("pacs", "sr", "pending"): 1,
        ("pacs", "sr", "sending"): 1,
        ("pacs", "sr", "failed"): 1,
        ("old-pacs", "sr", "pending"): 1,
    }
    assert scraper["waits_for_person"] == {("job",): 1, ("delivery",): 1, ("commitment",): 0, ("pull",): 0}


def test_a_study_that_is_tried_again_has_waited_since_then(scraper: Scraper, sessions: Sessions) -> None:
    """Workers are scaled by it: a study of last week that somebody retries is no week's backlog."""
    with sessions.begin() as session:
        job = add_job(session, state=JobState.FAILED, created_at=NOON - timedelta(days=7))
        retry(session, job.study_id, NOON)
        add_job(session, due_at=NOON + timedelta(minutes=5))
    scraper.clock.forward(60)
    assert scraper["oldest_queued_job_seconds"] == {(): 60}


def test_a_failure_that_a_person_has_seen_waits_for_nobody(scraper: Scraper, sessions: Sessions) -> None:
    with sessions.begin() as session:
        job = add_job(session, state=JobState.FAILED)
        add_delivery(session, add_report(session, job), state=DeliveryState.FAILED)
        acknowledge(session, job.study_id, NOON)
    assert set(scraper["waits_for_person"].values()) == {0}


def test_pulls_and_commitments_that_failed_wait_for_a_week(scraper: Scraper, sessions: Sessions) -> None:
    """Nobody can acknowledge them: what has been told for ever would hide what is new."""
    with sessions.begin() as session:
        add_pull(session, "1.2.1", state=PullState.FAILED)
        add_pull(session, "1.2.2")
        add_commitment(session, state=CommitmentState.FAILED)
    assert scraper["waits_for_person"] == {("job",): 0, ("delivery",): 0, ("commitment",): 1, ("pull",): 1}
    scraper.clock.forward(8 * 86_400)
    assert set(scraper["waits_for_person"].values()) == {0}


def test_what_came_in_is_counted_from_the_first_look_on_and_once(scraper: Scraper, sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session, ae="EARLIER")
    scraper.clock.forward(SETTLED_S)
    assert scraper["objects_received_total"] == {}
    with sessions.begin() as session:
        sizes = [
            receive(session, ae=ae, now=scraper.clock(), SOPInstanceUID=f"1.2.{number}").size_bytes
            for number, ae in enumerate(("CT", "CR", "CR"))
        ]
    assert scraper["objects_received_total"] == {}  # others with lower ids may still come
    scraper.clock.forward(SETTLED_S)
    expected = {("CT",): 1, ("CR",): 2}
    assert scraper["objects_received_total"] == expected
    assert scraper["objects_received_total"] == expected
    assert scraper["received_bytes_total"] == {("CT",): sizes[0], ("CR",): sizes[1] + sizes[2]}


def test_drafts_and_moves_are_counted_and_remarks_are_not(scraper: Scraper, sessions: Sessions) -> None:
    scraper.scrape()
    with sessions.begin() as session:
        job = add_job(session)
        report = add_report(session, job)
        delivery = add_delivery(session, report)
        note(session, delivery, NOON, "a remark")
        advance(session, delivery, DeliveryState.SENDING, now=NOON)
        advance(session, delivery, DeliveryState.DELIVERED, now=NOON)
    scraper.clock.forward(SETTLED_S)
    assert scraper["drafts_total"] == {(): 1}
    assert scraper["draft_seconds_total"] == {(): pytest.approx(0.1)}
    assert scraper["moves_total"]["delivery", "delivered"] == 1
    assert scraper["delivery_moves_total"] == {
        ("pacs", "sr", "pending"): 1,
        ("pacs", "sr", "sending"): 1,
        ("pacs", "sr", "delivered"): 1,
    }


def test_a_row_that_becomes_visible_late_is_counted(settings: Settings, postgres_sessions: Sessions) -> None:
    """Ids are given out before the commit: here the lower one is committed last."""
    scraper = Scraper(settings, postgres_sessions)
    scraper.scrape()
    with postgres_sessions() as late, postgres_sessions() as early:
        add_instance(late, add_study(late))
        add_instance(early, add_study(early))
        early.commit()
        scraper.clock.forward(5)
        scraper.scrape()
        late.commit()
    scraper.clock.forward(SETTLED_S)
    assert scraper["objects_received_total"] == {("MODALITY",): 2}


def test_a_clock_that_was_ahead_stops_no_counter(scraper: Scraper, sessions: Sessions) -> None:
    assert scraper["objects_received_total"] == {}
    with sessions.begin() as session:
        ahead = NOON + timedelta(days=365)
        add_instance(session, add_study(session, last_received_at=ahead)).received_at = ahead
        add_instance(session, add_study(session))
    scraper.clock.forward(SETTLED_S)
    assert scraper["objects_received_total"] == {("MODALITY",): 2}
    assert scraper["last_object_age_seconds"] == {(): SETTLED_S}


def test_roles_are_told_well_unwell_and_absent(scraper: Scraper, sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.add(Heartbeat(role="worker", host="a", well_at=NOON))
        session.add(Heartbeat(role="worker", host="b", well_at=NOON, fault="the model is not loaded"))
        session.add(Heartbeat(role="sweep", host="a", well_at=NOON - timedelta(minutes=5)))
    scraper.clock.forward(10)
    processes = scraper["role_processes"]
    assert (processes["well", "worker"], processes["unwell", "worker"]) == (1, 1)
    assert (processes["well", "sweep"], processes["unwell", "sweep"]) == (0, 1)
    assert (processes["well", "relay"], processes["unwell", "relay"]) == (0, 0)
    assert scraper["role_heartbeat_age_seconds"] == {("worker",): 10, ("sweep",): 310}


def test_days_of_certificates_are_told_where_they_can_be_read(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    tls = Authority(tmp_path).issue("node")
    gone = Tls(certificate=tmp_path / "none", key=tmp_path / "none", ca=tmp_path / "none")
    pacs = PACS.model_copy(update={"tls": gone})
    scraper = Scraper(settings.model_copy(update={"tls": tls, "pacs": (pacs,)}), sqlite_sessions)
    assert scraper["certificate_days_left"].keys() == {("tls",)}


def test_days_of_crls_are_told_where_there_are_any(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other").issue("node")
    tls = authority.issue("node")
    authority.certificate.write_text(authority.certificate.read_text() + authority.revocations())
    pacs = PACS.model_copy(update={"tls": other})
    scraper = Scraper(settings.model_copy(update={"tls": tls, "pacs": (pacs,)}), sqlite_sessions)
    assert scraper["crl_days_left"].keys() == {("tls",)}


def test_the_certificate_that_is_shown_to_who_asked_for_commitment_is_one_of_them(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    peer = Peer(listens_at=PeerAddress(host="10.1.0.7", tls=Authority(tmp_path).issue("node")))
    scraper = Scraper(settings.model_copy(update={"peers": {"CR1": peer}}), sqlite_sessions)
    assert scraper["certificate_days_left"].keys() == {("peer CR1",)}


def test_a_bad_file_of_rules_is_told_and_none_is_neither_good_nor_bad(
    settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    assert Scraper(settings, sqlite_sessions)["rules_bad"] == {}
    file = tmp_path / "rules.yml"
    file.write_text("rules: [{name: all, destinations: pacs}]")
    scraper = Scraper(settings.model_copy(update={"rules_file": file}), sqlite_sessions)
    assert scraper["rules_bad"] == {(): 0}
    file.write_text("rules: [{name: all, destinations: nowhere}]")
    assert scraper["rules_bad"] == {(): 1}
    file.unlink()
    assert scraper["rules_bad"] == {(): 1}


def test_nothing_of_a_patient_is_told(scraper: Scraper, sessions: Sessions) -> None:
    scraper.scrape()
    with sessions.begin() as session:
        instance = receive(session)
        add_delivery(session, add_report(session, add_job(session), instance))
    scraper.clock.forward(SETTLED_S)
    text = scraper.scrape()
    assert "CANARY" not in text
    assert instance.sop_instance_uid not in text
    assert only(sessions, Series).series_instance_uid not in text


def test_the_format_is_what_prometheus_expects(scraper: Scraper) -> None:
    promtool = require_peer("promtool")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=scraper.scrape(), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_scrape_asks_the_indexes(engine: Engine, settings: Settings) -> None:
    """No table is read from end to end, whatever its size."""
    sessions, statements = Sessions(engine), []
    scraper = Scraper(settings, sessions)
    scraper.scrape()

    def listen(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", listen)
    scraper.scrape()
    event.remove(engine, "before_cursor_execute", listen)
    prefix = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # tables are empty here
        for statement, parameters in statements:
            if statement.startswith("SELECT") and "heartbeat" not in statement:
                plan = "\n".join(str(line) for line in connection.exec_driver_sql(prefix + statement, parameters))
                assert "SCAN" not in plan, (statement, plan)
                assert "Seq Scan" not in plan, (statement, plan)
