"""The page of charts: what is counted, and how it is said."""

import shutil
from datetime import timedelta

import pytest
from doubles import NOON
from page_browser import logged_in
from rows import add_delivery, add_job, add_study, receive

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import advance
from dicom_node.models import Heartbeat
from dicom_node.receive.intake import Receiver
from dicom_node.states import JobState
from dicom_node.web.charts import HEIGHT, draw
from dicom_node.web.figures import HOURS, Disk, disk, queues, throughput


def test_studies_are_counted_in_the_hour_in_which_they_came_and_moved(sessions: Sessions) -> None:
    hour = timedelta(hours=1)
    with sessions.begin() as session:
        for _ in range(3):
            add_study(session)  # received at NOON
        job = add_job(session, state=JobState.INFERRING)
        advance(session, job, JobState.REPORTED, now=NOON + hour)
        advance(session, job, JobState.DONE, now=NOON + 2 * hour - timedelta(microseconds=1))
        advance(session, job, JobState.REPORTED, now=NOON + 2 * hour, reason="sent again: not drafted again")
        advance(session, job, JobState.FAILED, now=NOON + 3 * hour)
    with sessions() as session:
        counted = throughput(session, NOON + 3 * hour + timedelta(minutes=59))
        later = throughput(session, NOON + 24 * hour)
    assert counted.hours[-1] == NOON + 3 * hour
    last = {name: list(counts[-4:]) for name, counts in counted.counts.items()}
    assert (last["received"], last["drafted"]) == ([4, 0, 0, 0], [0, 1, 0, 0])
    assert (last["delivered"], last["failed"]) == ([0, 1, 0, 0], [0, 0, 0, 1])
    assert {len(counts) for counts in counted.counts.values()} == {HOURS}
    assert (sum(later.counts["received"]), sum(later.counts["drafted"])) == (0, 1)


def test_the_rate_is_that_of_a_week_or_of_the_days_that_a_node_is_old(settings: Settings, sessions: Sessions) -> None:
    settings.instances_dir.mkdir()
    with sessions.begin() as session:
        size = receive(session).size_bytes
    with sessions() as session:
        rates = [disk(session, settings, NOON + timedelta(days=days)).received_a_day for days in (0.1, 4, 30)]
    assert rates == [size, size / 4, 0]


def test_the_days_left_end_where_space_is_kept_back() -> None:
    assert Disk(total=1000, free=300, kept_back=100, received_a_day=20).days_left == 10
    assert Disk(total=1000, free=50, kept_back=100, received_a_day=20).days_left == 0
    assert Disk(total=1000, free=300, kept_back=100, received_a_day=0).days_left is None


def test_what_waits_is_told_with_the_oldest(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_job(session, created_at=NOON + timedelta(hours=1))
        add_job(session, created_at=NOON + timedelta(hours=2))
        add_delivery(session, state="delivered")
    with sessions() as session:
        drafts, deliveries = queues(session)
    assert (drafts.count, drafts.since) == (2, NOON + timedelta(hours=1))
    assert (deliveries.count, deliveries.since) == (0, None)


def test_the_highest_bar_fills_the_chart_and_the_others_keep_their_share() -> None:
    chart = draw("received", [0, 5, 10])
    assert [bar.height for bar in chart.bars] == [0, HEIGHT / 2, HEIGHT]
    assert all(bar.y + bar.height == HEIGHT for bar in chart.bars)
    assert (chart.total, chart.most) == (15, 10)
    assert [bar.height for bar in draw("failed", [0, 0]).bars] == [0, 0]


def test_the_page_draws_the_charts_and_says_them_in_a_table(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store)
        session.add(Heartbeat(role="scp", host="a", well_at=NOON))
        session.add(Heartbeat(role="worker", host="a", well_at=NOON, fault="the model is not loaded"))
    browser = logged_in(page)
    shown = browser.get("/status").text
    assert 'aria-label="Received: 1 in 24 hours, 1 in the busiest hour.' in shown
    assert shown.count('<rect class="bar received" x=') == 1
    assert shown.count('<th scope="row">') == HOURS
    assert "Full in " in shown
    assert "the model is not loaded" in shown
    assert "does not run, or has not said so yet" in shown
    renewed = browser.get("/status", HX_Request="true").text
    assert "Full in " in renewed
    assert "<table" not in renewed


def test_a_folder_that_is_away_is_said_to_be(page: int, settings: Settings, node: Receiver) -> None:
    shutil.rmtree(settings.instances_dir)
    assert "The folder of the images is away." in logged_in(page).get("/status").text


@pytest.mark.parametrize("name", ["viewer", "operator", "admin"])
def test_everybody_may_look(name: str, page: int) -> None:
    assert logged_in(page, name).get("/status").status == 200
