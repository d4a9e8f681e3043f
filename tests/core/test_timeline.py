"""Where a study is, and why, in words."""

from datetime import timedelta

import pytest
from doubles import NOON
from rows import add_delivery, add_job, add_report, add_study, receive
from sqlalchemy import Engine, event, insert
from sqlmodel import Session

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.deliveries import add_deliveries
from dicom_node.flags import Flag, FlagKind, flags_to_json
from dicom_node.lifecycle import advance
from dicom_node.models import Job, Study, Transition
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryState, JobState, StudyState
from dicom_node.timeline import list_statuses, study_status, timeline


@pytest.mark.parametrize(
    ("job", "where", "why"),
    [
        (None, "receiving", "images may still come"),
        ({"state": "queued"}, "queued", "waits for a worker"),
        ({"state": "inferring"}, "inferring", "a worker drafts the findings"),
        ({"state": "skipped", "reason": "no frontal view"}, "skipped", "no frontal view"),
        ({"state": "failed", "reason": "undecodable"}, "failed", "undecodable"),
        ({"state": "done"}, "done", "every destination has the draft"),
    ],
)
def test_a_study_is_where_its_job_is(
    job: dict[str, str] | None, where: str, why: str, sqlite_sessions: Sessions
) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="complete" if job else "receiving")
        if job:
            add_job(session, study, **job)
        status = study_status(session, study)
    assert (status.where, status.why) == (where, why)


@pytest.mark.parametrize("state", JobState)
def test_every_state_has_words(state: JobState, sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        job = add_job(session, add_study(session, state="complete"), state=state, reason="because")
        add_delivery(session, add_report(session, job))
        status = study_status(session, session.get_one(Study, job.study_id))
    assert status.where == state
    assert status.why


def test_a_late_image_is_said_before_the_old_answer(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="receiving")
        add_job(session, study, state="done")
        assert study_status(session, study).why == "images may still come"


def test_a_reported_study_tells_of_each_destination(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="complete")
        report = add_report(session, add_job(session, study, state="reported"))
        add_delivery(session, report, state="delivered", reason="stored")
        add_delivery(session, report, destination="ris", attempts=1, reason="RIS cannot be reached")
        assert study_status(session, study).why == "pacs delivered; ris pending (RIS cannot be reached)"


def test_a_reported_study_tells_what_is_not_committed_and_which_object_is_meant(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="complete")
        report = add_report(session, add_job(session, study, state="reported"))
        add_delivery(session, report, state="delivered", wants_commitment=True)
        add_delivery(session, report, state="committed", kind="pdf", wants_commitment=True)
        assert study_status(session, study).why == "pacs delivered (not committed yet); pacs pdf committed"


def test_a_withdrawn_draft_says_so_and_one_that_somebody_could_not_be_told_of_comes_first(
    sqlite_sessions: Sessions,
) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="complete")
        withdrawn = {"withdrawn_at": NOON, "withdrawal_reason": "wrong side"}
        failed = add_job(session, study, state="failed", reason="delivery to pacs failed: no")
        add_report(session, failed, **withdrawn)
        add_report(session, add_job(session, study, revision=2, state="done"), **withdrawn)
        status = study_status(session, study)
        assert (status.where, status.why) == ("failed", "withdrawn (wrong side): delivery to pacs failed: no")
        failed.state = "done"
        session.add(failed)
        session.flush()
        assert study_status(session, study).why == "withdrawn (wrong side): every destination has the draft"


def test_a_draft_that_needs_care_says_so_without_its_words(sqlite_sessions: Sessions) -> None:
    flag = Flag(FlagKind.COMMUNICATION, 'Tells of a conversation: "discussed with Dr. CANARY".')
    with sqlite_sessions.begin() as session:
        job = add_job(session, add_study(session, state="complete"), state="done")
        add_report(session, job, flags=flags_to_json([flag]), model_is_synthetic=True)
        status = study_status(session, session.get_one(Study, job.study_id))
    assert status.why == (
        "SYNTHETIC TEST MODEL: every destination has the draft; check: the draft tells of a conversation"
    )


def test_the_newest_studies_come_first_with_their_objects_counted(sessions: Sessions) -> None:
    with sessions.begin() as session:
        receive(session)
        receive(session, SOPInstanceUID="1.2.3")
        newest = add_study(session, last_received_at=NOON + timedelta(seconds=1))
        assert [each.object_count for each in list_statuses(session)] == [0, 2]
        assert [each.study_id for each in list_statuses(session, limit=1)] == [newest.id]


def test_the_timeline_tells_of_one_study_only_oldest_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        ours, job = walk(session)
        walk(session)
        told = [moment.what for moment in timeline(session, ours)]
    delivery = told[-1].split(":")[0]
    assert told == [
        f"study {ours.id}: receiving (first instance received)",
        f"study {ours.id}: receiving → complete (quiet)",
        f"job {job.id}: queued (study complete)",
        f"job {job.id}: queued → inferring",
        f"job {job.id}: inferring → reported (draft stored)",
        f"{delivery}: pending (for pacs)",
        f"{delivery}: pending → sending (attempt 1)",
    ]


def test_the_timeline_says_what_each_delivery_brings(settings: Settings, sqlite_sessions: Sessions) -> None:
    pacs = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", objects=("sr", "pdf"))
    settings = settings.model_copy(update={"pacs": (pacs,)})
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="complete")
        report = add_report(session, add_job(session, study, state="reported"))
        add_deliveries(session, settings, report, NOON, priority=5, only={"pacs"})
        told = [moment.what for moment in timeline(session, study)]
    assert told[-2:] == ["delivery 1: pending (for pacs)", "delivery 2: pending (for pacs pdf)"]


def walk(session: Session) -> tuple[Study, Job]:
    study = add_study(session)
    advance(session, study, StudyState.COMPLETE, now=NOON, reason="quiet")
    job = add_job(session, study)
    advance(session, job, JobState.INFERRING, now=NOON)
    advance(session, job, JobState.REPORTED, now=NOON, reason="draft stored")
    delivery = add_delivery(session, add_report(session, job))
    advance(session, delivery, DeliveryState.SENDING, now=NOON, reason="attempt 1")
    return study, job


def test_an_old_study_that_failed_is_listed_however_many_came_since(sessions: Sessions) -> None:
    with sessions.begin() as session:
        failed = add_study(session, state="complete", last_received_at=NOON - timedelta(days=1))
        add_job(session, failed, state="failed")
        for _ in range(3):
            add_study(session)
        assert [each.where for each in list_statuses(session, limit=2)] == ["receiving", "receiving", "failed"]


def test_a_late_image_does_not_hide_what_its_study_waits_for(sqlite_sessions: Sessions) -> None:
    with sqlite_sessions.begin() as session:
        study = add_study(session, state="receiving")
        add_delivery(session, add_report(session, add_job(session, study, state="reported")), destination="pacs")
        assert study_status(session, study).why == "pacs pending"


def test_the_timeline_of_a_study_is_found_however_many_there_are(engine: Engine) -> None:
    """By the index of its rows: pages ask for it every two seconds."""
    sessions, asked = Sessions(engine), []
    with sessions.begin() as session:
        study = add_study(session)
        add_delivery(session, add_report(session, add_job(session, study)))
        moves = [{"row_kind": "job", "row_id": row_id, "old": "", "new": "queued"} for row_id in range(1000, 6000)]
        session.execute(insert(Transition), [{**move, "at": NOON, "reason": ""} for move in moves])
        session.connection().exec_driver_sql("ANALYZE")

    def listen(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", listen)
    with sessions() as session:
        assert len(timeline(session, study)) == 3
    event.remove(engine, "before_cursor_execute", listen)
    statement, parameters = next(each for each in asked if "FROM transition" in each[0])
    prefix = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.connect() as connection:
        plan = "\n".join(str(line) for line in connection.exec_driver_sql(prefix + statement, parameters))
    assert plan.count("transition_row") == 3, plan
