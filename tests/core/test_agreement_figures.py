"""How drafts agree with signed reports, as the command and Prometheus tell it."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from agreements import add_agreement
from doubles import NOON, FrozenClock
from prometheus_client import CollectorRegistry, generate_latest
from sqlmodel import select
from typer.testing import CliRunner, Result

from dicom_node.agreement.figures import Counts, Figures, Wanted, compared_models, read_figures
from dicom_node.agreement.outcome import Outcome
from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.metrics.collector import NodeCollector
from dicom_node.models import Report
from workers.llavarad.edition import LLAVA_RAD

Run = Callable[..., Result]
EFFUSION, NODULE = "Pleural effusion", "Nodule"
BERLIN = ZoneInfo("Europe/Berlin")
WEEK = timedelta(weeks=1)


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`dicom-node` on the test's node."""
    monkeypatch.setenv("DICOM_NODE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, ["agreement", *arguments])


def read(sessions: Sessions, wanted: Wanted = Wanted(), zone: ZoneInfo = BERLIN) -> Figures:
    with sessions() as session:
        return read_figures(session, wanted, zone)


def fill(sessions: Sessions) -> list[int]:
    """Three drafts: all right; the wrong side and a nodule denied; one that misses what the second names, too.

    Returns their studies.
    """
    wrong = {EFFUSION: ("present", "left", "present", "right"), NODULE: ("absent", "", "present", "")}
    more = {EFFUSION: ("", "", "present", ""), NODULE: ("present", "", "undetermined", "")}
    with sessions.begin() as session:
        rows = (
            add_agreement(session, {EFFUSION: ("present", "left", "present", "left")}, rouge_l=0.9),
            add_agreement(session, wrong, rouge_l=0.1, drafted_at=NOON + WEEK),
            add_agreement(session, more, rouge_l=0.5, drafted_at=NOON + 2 * WEEK, model="other", is_withdrawn=True),
        )
        return [row.study_id for row in rows]


def test_outcomes_are_counted_by_finding_and_the_most_often_named_comes_first(sessions: Sessions) -> None:
    fill(sessions)
    found = read(sessions)
    assert found.findings == {
        EFFUSION: Counts(agreed=1, side_differs=1, missed=1),
        NODULE: Counts(missed=1, added=1, contradicted=1),
    }
    assert list(found.findings) == [EFFUSION, NODULE]
    assert found.sample.counts == Counts(agreed=1, side_differs=1, missed=2, added=1, contradicted=1)
    assert (len(found.sample.studies), found.sample.withdrawn, found.sample.models) == (3, 1, ["fake 1", "other 1"])
    assert found.sample.rouge_l is not None
    assert found.sample.rouge_l.value == 0.5


def test_the_studies_furthest_apart_come_first_and_those_that_agree_not_at_all(sessions: Sessions) -> None:
    _, second, third = fill(sessions)
    assert [each.study_id for each in read(sessions).sample.furthest_apart(5)] == [second, third]
    assert [each.study_id for each in read(sessions).sample.furthest_apart(1)] == [second]


def test_a_choice_by_day_and_model_leaves_the_others_out(sessions: Sessions) -> None:
    _, second, third = fill(sessions)
    since = Wanted((NOON + WEEK).date())
    assert [each.study_id for each in read(sessions, since).sample.studies] == [second, third]
    assert [each.study_id for each in read(sessions, Wanted(model="other")).sample.studies] == [third]
    with sessions() as session:
        assert compared_models(session) == ["fake", "other"]


def test_weeks_begin_on_monday_where_the_site_is_and_half_a_year_is_told_by_months(sessions: Sessions) -> None:
    sunday_night = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)  # Monday in Berlin
    with sessions.begin() as session:
        add_agreement(session, {}, drafted_at=sunday_night)
    assert list(read(sessions).periods) == [date(2026, 3, 2)]
    assert list(read(sessions, zone=ZoneInfo("UTC")).periods) == [date(2026, 2, 23)]
    with sessions.begin() as session:
        add_agreement(session, {}, drafted_at=sunday_night + 27 * WEEK)
    found = read(sessions)
    assert (found.by_month, list(found.periods)) == (True, [date(2026, 3, 1), date(2026, 9, 1)])


def test_a_node_without_comparisons_says_so_and_is_well(run: Run, sqlite_sessions: Sessions) -> None:
    done = run()
    assert (done.exit_code, done.stdout) == (0, "No draft was compared with a signed report.\n")
    assert json.loads(run("--json").stdout)["all_findings"] == {"named": 0, "contradicted": 0}


def test_the_command_shows_counts_with_their_intervals(run: Run, sqlite_sessions: Sessions) -> None:
    fill(sqlite_sessions)
    shown = run().stdout
    assert "3 drafts of fake 1, other 1 compared with the signed report, 1 of them withdrawn" in shown
    assert "median 0.50 (0.00–1.00)" in shown
    row = next(line for line in shown.splitlines() if EFFUSION in line)
    assert row.count("1: 33% (6%–79%)") == 3  # agreed, side, missed
    assert "0: 0%" in row
    assert "2026-02-23" in shown
    assert "SYNTHETIC" not in shown


def test_a_model_that_drafted_nothing_is_named_with_those_that_did(run: Run, sqlite_sessions: Sessions) -> None:
    assert run("--model", "Fake").exit_code == 0  # nothing was compared, which is what it says
    fill(sqlite_sessions)

    refused = run("--model", "Fake").exception

    assert isinstance(refused, Permanent)
    assert str(refused) == "no draft of a model Fake was compared, expected --model fake or other"


def test_a_test_models_drafts_are_said_to_be_that(run: Run, sqlite_sessions: Sessions) -> None:
    fill(sqlite_sessions)
    with sqlite_sessions.begin() as session:
        session.exec(select(Report).where(Report.id == 1)).one().model_is_synthetic = True
    assert run().stdout.startswith("SYNTHETIC TEST MODEL. 3 drafts")


def test_the_command_tells_all_of_it_in_json(run: Run, sqlite_sessions: Sessions) -> None:
    fill(sqlite_sessions)
    found = json.loads(run("--json", "--since", "2026-03-08", "--model", "fake").stdout)
    assert (found["drafts"], found["withdrawn"], found["by"], list(found["periods"])) == (1, 0, "week", ["2026-03-02"])
    assert found["findings"][NODULE]["missed"]["part"] == 1
    assert found["findings"][NODULE]["contradicted"] == 1
    assert found["rouge_l"] == {"value": 0.1, "low": 0.0, "high": 1.0}


@pytest.mark.usefixtures("sqlite_engine")
def test_what_is_no_day_was_not_understood(run: Run) -> None:
    assert run("--since", "yesterday").exit_code == 2


def test_prometheus_counts_what_is_compared_and_what_came_of_each_finding(
    settings: Settings, sessions: Sessions
) -> None:
    settings.instances_dir.mkdir()
    clock, registry = FrozenClock(), CollectorRegistry()
    registry.register(NodeCollector(settings, sessions, clock))
    generate_latest(registry)
    fill(sessions)
    clock.forward(60)
    told = generate_latest(registry).decode()
    assert "dicom_node_drafts_compared_total 3.0" in told
    assert f'dicom_node_findings_compared_total{{finding="{EFFUSION}",outcome="side differs"}} 1.0' in told
    assert f'dicom_node_findings_compared_total{{finding="{NODULE}",outcome="{Outcome.MISSED}"}} 1.0' in told


def test_the_guide_names_the_model_as_its_drafts_do() -> None:
    guide = Path(__file__).parents[2] / "deploy" / "agreement.md"
    assert f"--model {LLAVA_RAD.config.name}\n" in guide.read_text(encoding="utf-8")
