"""One job from QUEUED to its answer."""

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from doubles import FINDINGS, IDENTITY, NOON, FakeWriter, FrozenClock
from films import make_dx
from postgres import waits_for_a_lock
from rows import add_job, all_of, moves_of, only, receive
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select
from waiting import LONG_S, in_threads, wait_until

from dicom_node.attention import maps_from_png
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import BadCheckpoint, EngineAway, EngineLost, InvalidOutput, NodeError, UndecodablePixels
from dicom_node.flags import flags_from_json
from dicom_node.labels import labels_from_json
from dicom_node.lifecycle import put_back
from dicom_node.models import Delivery, Instance, Job, Report, Study
from dicom_node.states import JobState
from dicom_node.storage import InstanceStore
from workers import inference
from workers.inference import Reader, infer
from workers.labelling.labeller import label

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example"}
RIS = {"name": "ris", "host": "ris.example"}


@pytest.fixture
def reader(sessions: Sessions, settings: Settings) -> Reader:
    told = Settings(data_dir=settings.data_dir, pacs=[PACS], ris=[RIS], max_job_attempts=2)
    return Reader(sessions, InstanceStore(settings.instances_dir), FakeWriter(), told, FrozenClock())


def queue(reader: Reader, **elements: Any) -> int:
    """A received film and its queued job; gives the job's id."""
    with reader.sessions.begin() as session:
        receive(session, reader.store, **elements)
        study = session.exec(select(Study)).one()
        study.state = "complete"
        return add_job(session, study, priority=3).id or 0


def test_without_a_due_job_there_is_nothing_to_do(reader: Reader) -> None:
    assert not infer(reader)
    assert not infer(reader, 4711)


def test_a_film_is_reported_to_every_destination_in_one_transaction(reader: Reader) -> None:
    queue(reader)
    assert infer(reader)
    job, report, instance = only(reader.sessions, Job), only(reader.sessions, Report), only(reader.sessions, Instance)
    assert (job.state, job.attempts, job.lease_until) == ("reported", 1, None)
    assert (report.job_id, report.instance_id, report.findings) == (job.id, instance.id, FINDINGS.text)
    assert (report.model_name, report.model_digest, report.created_at) == ("fake", "d" * 64, NOON)
    assert (report.token_count, report.cropped_fraction, report.seconds) == (6, 0.0625, 0.5)
    assert (report.flags, report.model_is_synthetic) == ("[]", False)
    told = [
        (each.kind, each.destination, each.state, each.priority, each.due_at)
        for each in all_of(reader.sessions, Delivery)
    ]
    assert told == [("sr", "pacs", "pending", 3, NOON), ("oru", "ris", "pending", 3, NOON)]
    assert moves_of(reader.sessions, "delivery") == [("", "pending"), ("", "pending")]


def test_the_model_is_given_the_image_of_the_file(reader: Reader) -> None:
    queue(reader)
    infer(reader)
    (image,) = reader.writer.images  # type: ignore[attr-defined]
    assert image.shape == (make_dx().Rows, make_dx().Columns)
    assert image.dtype == "uint8"


def test_the_draft_is_stored_with_what_the_labeller_found_in_it(reader: Reader) -> None:
    queue(reader)
    infer(replace(reader, writer=FakeWriter(findings=replace(FINDINGS, text="No effusion."))))
    labels = labels_from_json(only(reader.sessions, Report).labels)
    assert labels == label("No effusion.")
    assert labels is not None
    assert [each.finding.meaning for each in labels.labels] == ["Pleural effusion"]


def test_the_draft_is_stored_with_where_the_model_looked(reader: Reader) -> None:
    maps = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    queue(reader)
    infer(replace(reader, writer=FakeWriter(findings=replace(FINDINGS, attention=maps))))
    kept = only(reader.sessions, Report).attention
    assert kept is not None
    np.testing.assert_array_equal(maps_from_png(kept), maps)


def test_a_draft_goes_out_without_labels_and_maps_that_cannot_be_made(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise ValueError("CANARY^PHI")

    monkeypatch.setattr(inference, "label", fail)  # no text is known that it cannot read
    no_maps = np.zeros(1, dtype=np.uint8)
    queue(reader)
    infer(replace(reader, writer=FakeWriter(findings=replace(FINDINGS, attention=no_maps))))
    report = only(reader.sessions, Report)
    assert (report.findings, report.labels, report.attention) == (FINDINGS.text, "", None)
    assert len(all_of(reader.sessions, Delivery)) == 2
    assert "labels_left_out" in caplog.text
    assert "attention_left_out" in caplog.text
    assert "CANARY" not in caplog.text


def test_why_the_model_gave_no_maps_is_logged(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    queue(reader)
    infer(replace(reader, writer=FakeWriter(findings=replace(FINDINGS, attention_fault="KeyError at attention.py:1"))))
    assert only(reader.sessions, Report).attention is None
    assert '"trace": "KeyError at attention.py:1", "event": "attention_left_out"' in caplog.text


def test_without_destinations_the_draft_is_kept_and_the_job_done(reader: Reader) -> None:
    queue(reader)
    infer(replace(reader, settings=Settings(data_dir=reader.settings.data_dir)))
    assert only(reader.sessions, Job).state == "done"
    assert only(reader.sessions, Report).findings == FINDINGS.text
    assert moves_of(reader.sessions, "job")[-2:] == [("inferring", "reported"), ("reported", "done")]


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"ViewPosition": "LL"}, "no frontal view (view LL)"),
        ({"BodyPartExamined": "ABDOMEN"}, "not a radiograph of the chest (body part ABDOMEN)"),
        ({"Manufacturer": "CXRNODE"}, "only results of this node"),
        ({"PixelData": None}, "no pixel data"),
        (
            {"PatientOrientation": ["R", "F"]},
            "stored mirrored or turned, so that its sides would be read wrongly (rows to R, columns to F)",
        ),
        (
            {"RescaleSlope": "-1", "RescaleIntercept": "4095"},
            "stored as a negative of what is shown, so that dark would be read for bright"
            " (its rescale slope is below 0)",
        ),
        ({"ViewPosition": "CANARY^PHI"}, "no frontal view (view of another name)"),
    ],
)
def test_a_film_the_model_may_not_read_is_skipped_with_words(
    elements: dict[str, Any], words: str, reader: Reader
) -> None:
    queue(reader, **elements)
    assert infer(reader)
    job = only(reader.sessions, Job)
    assert (job.state, job.reason) == ("skipped", words)
    assert all_of(reader.sessions, Report) == []


def test_what_the_site_vouches_for_is_drafted(reader: Reader) -> None:
    queue(reader, ViewPosition=None, BodyPartExamined=None)
    peers = {"MODALITY": {"assume_chest": True, "assume_frontal": True}}
    infer(replace(reader, settings=Settings(data_dir=reader.settings.data_dir, peers=peers)))
    assert only(reader.sessions, Job).state == "done"


def test_an_image_that_was_drafted_before_is_not_drafted_again(reader: Reader) -> None:
    queue(reader)
    infer(reader)
    with reader.sessions.begin() as session:
        session.exec(select(Job)).one().state = "done"
        add_job(session, session.exec(select(Study)).one(), revision=2)
    infer(reader)
    job = all_of(reader.sessions, Job)[1]
    assert (job.state, job.reason) == ("skipped", "a draft was made from the same image already (revision 1)")
    assert only(reader.sessions, Report).id


def test_a_better_image_that_came_late_is_drafted(reader: Reader) -> None:
    queue(reader, ViewPosition="AP")
    infer(reader)
    with reader.sessions.begin() as session:
        session.exec(select(Job)).one().state = "done"
        receive(session, reader.store, SOPInstanceUID="1.2.3")
        add_job(session, session.exec(select(Study)).one(), revision=2)
    infer(reader)
    assert [job.state for job in all_of(reader.sessions, Job)] == ["done", "reported"]
    assert len({report.instance_id for report in all_of(reader.sessions, Report)}) == 2


def test_a_lateral_that_comes_again_is_no_reason_to_withdraw_a_draft(reader: Reader) -> None:
    queue(reader)
    infer(reader)
    with reader.sessions.begin() as session:
        session.exec(select(Job)).one().state = "done"
        session.exec(select(Delivery).where(Delivery.kind == "sr")).one().delivered_at = NOON
        for view in ("LL", "RL"):
            receive(session, reader.store, SOPInstanceUID="1.2.3", ViewPosition=view)
        add_job(session, session.exec(select(Study)).one(), revision=2)
    infer(reader)
    assert all_of(reader.sessions, Job)[1].state == "skipped"


@pytest.mark.parametrize("again", [{"SOPInstanceUID": "1.2.3", "PatientID": "ANOTHER"}, {"ViewPosition": "AP"}])
@pytest.mark.parametrize("has_gone_out", [True, False])
def test_a_contradiction_that_comes_late_needs_a_person_where_a_draft_went_out(
    again: dict[str, str], has_gone_out: bool, reader: Reader
) -> None:
    """A film of the wrong worklist entry, put right and sent again: who has the first draft must hear of it."""
    queue(reader)
    infer(reader)
    with reader.sessions.begin() as session:
        session.exec(select(Job)).one().state = "done"
        if has_gone_out:
            session.exec(select(Delivery).where(Delivery.kind == "sr")).one().delivered_at = NOON
        receive(session, reader.store, **again)
        add_job(session, session.exec(select(Study)).one(), revision=2)
    infer(reader)
    job = all_of(reader.sessions, Job)[1]
    assert job.state == ("failed" if has_gone_out else "skipped")
    assert job.reason.endswith("; pacs may have a draft of it: withdraw that") is has_gone_out


def test_a_transient_failure_is_tried_again_later_until_attempts_are_used_up(reader: Reader) -> None:
    queue(reader)
    clock = FrozenClock()
    failing = replace(reader, writer=FakeWriter(error=EngineLost("the model took longer than 1 s")), clock=clock)
    assert infer(failing)
    job = only(reader.sessions, Job)
    assert (job.state, job.attempts, job.due_at) == ("queued", 1, NOON + timedelta(seconds=5))
    assert job.reason.startswith("the model took longer than 1 s; attempt 1 of 2, again at")
    assert not infer(failing)
    clock.forward(5)
    assert infer(failing)
    job = only(reader.sessions, Job)
    assert (job.state, job.reason) == ("failed", "the model took longer than 1 s; gave up after 2 attempts")


@pytest.mark.parametrize("error", [UndecodablePixels("instance 1"), InvalidOutput("empty")])
def test_a_permanent_failure_fails_at_once_with_its_reason(error: Exception, reader: Reader) -> None:
    queue(reader)
    assert infer(replace(reader, writer=FakeWriter(error=error)))
    job = only(reader.sessions, Job)
    assert (job.state, job.attempts, job.reason) == ("failed", 1, str(error))


@pytest.mark.parametrize("error", [BadCheckpoint("weights"), EngineAway("weights")])
def test_a_model_that_cannot_be_loaded_ends_the_role_and_costs_the_study_nothing(
    error: NodeError, reader: Reader
) -> None:
    queue(reader)
    with pytest.raises(type(error)):
        infer(replace(reader, writer=FakeWriter(error=error)))
    job = only(reader.sessions, Job)
    assert (job.state, job.attempts, job.reason) == ("queued", 0, "weights")


def test_an_instance_folder_that_is_away_is_no_reason_to_fail(reader: Reader) -> None:
    queue(reader)
    file = reader.store.open(only(reader.sessions, Instance).path)
    for path in file.parent.iterdir():
        path.unlink()
    file.parent.rmdir()
    assert infer(reader)
    assert only(reader.sessions, Job).reason.startswith("instance folder is away; attempt 1")


def test_a_draft_that_was_cut_short_is_kept_as_it_is_and_says_so(reader: Reader) -> None:
    queue(reader)
    settings = reader.settings.model_copy(update={"max_new_tokens": FINDINGS.token_count})
    assert infer(replace(reader, settings=settings))
    job, report = only(reader.sessions, Job), only(reader.sessions, Report)
    (flag,) = flags_from_json(report.flags)
    assert (job.state, report.findings) == ("reported", FINDINGS.text)
    assert flag.sentence == "Cut short at the limit of 6 tokens: the end is missing."


def test_a_draft_is_stored_with_its_flags_and_without_a_change(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    text = "Unchanged effusion, 3 cm. Discussed with Dr. CANARY."
    queue(reader)
    findings = replace(FINDINGS, text=text, cropped_fraction=1 - 2544 / 3056)
    infer(replace(reader, writer=FakeWriter(findings=findings)))
    job, report = only(reader.sessions, Job), only(reader.sessions, Report)
    told = {flag.kind.value: flag.sentence for flag in flags_from_json(report.flags)}
    assert list(told) == ["comparison", "measurement", "communication", "cropped"]
    assert told["cropped"] == "17 % of the image was outside of what the model reads."
    assert report.findings == text
    assert job.reason == (
        "draft stored; check: the draft compares with images not seen, states a size, tells of a conversation, "
        "is of a part of the image"
    )
    assert "CANARY" not in caplog.text


def test_a_draft_of_a_synthetic_model_is_known_as_such(reader: Reader) -> None:
    queue(reader)
    infer(replace(reader, writer=FakeWriter(identity=replace(IDENTITY, is_synthetic=True))))
    assert only(reader.sessions, Report).model_is_synthetic
    assert only(reader.sessions, Job).reason == "SYNTHETIC TEST MODEL: draft stored"


def test_an_unknown_exception_fails_with_its_kind_and_no_value(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    queue(reader)
    assert infer(replace(reader, writer=FakeWriter(error=KeyError("CANARY^PHI"))))
    job = only(reader.sessions, Job)
    assert (job.state, job.reason) == ("failed", "unexpected KeyError: see the log")
    assert "KeyError at workers/inference.py" in caplog.text


def test_a_job_that_was_rung_for_is_waited_for(postgres_sessions: Sessions, settings: Settings) -> None:
    reader = Reader(postgres_sessions, InstanceStore(settings.instances_dir), FakeWriter(), settings, FrozenClock())
    job_id, found = queue(reader), list[bool]()
    rung = threading.Thread(target=lambda: found.append(infer(reader, job_id)))
    with reader.sessions.begin() as session:
        session.exec(select(Job).with_for_update()).one().rung_at = NOON  # as the sweep does
        rung.start()
        wait_until(lambda: found or waits_for_a_lock(reader.sessions), "the job is looked for")
    rung.join(LONG_S)
    assert (found, only(reader.sessions, Job).state) == ([True], "done")


def test_a_film_whose_file_is_gone_fails_for_a_person(reader: Reader) -> None:
    queue(reader)
    reader.store.open(only(reader.sessions, Instance).path).unlink()
    infer(reader)
    assert only(reader.sessions, Job).state == "failed"


@pytest.mark.parametrize("error", [None, EngineLost("lost"), UndecodablePixels("bad"), KeyError("x")])
def test_whoever_lost_the_lease_reports_nothing(error: Exception | None, reader: Reader) -> None:
    queue(reader)

    def lose_the_lease() -> None:
        with reader.sessions.begin() as session:
            job = session.exec(select(Job)).one()
            put_back(session, job, now=NOON, due_at=NOON, max_attempts=3, reason="the process died")

    assert infer(replace(reader, writer=FakeWriter(error=error, before=lose_the_lease)))
    job = only(reader.sessions, Job)
    assert (job.state, job.attempts) == ("queued", 1)
    assert job.reason.startswith("the process died")
    assert all_of(reader.sessions, Report) == all_of(reader.sessions, Delivery) == []


def test_a_draft_that_was_made_after_the_lease_was_lost_and_taken_anew_is_dropped(reader: Reader) -> None:
    queue(reader)
    second = replace(reader, writer=FakeWriter(findings=replace(FINDINGS, text="By the second.")))

    def lose_to_the_second() -> None:
        with reader.sessions.begin() as session:
            job = session.exec(select(Job)).one()
            put_back(session, job, now=NOON, due_at=NOON, max_attempts=3, reason="the process died")
        infer(second)

    infer(replace(reader, writer=FakeWriter(before=lose_to_the_second)))
    assert only(reader.sessions, Report).findings == "By the second."
    assert only(reader.sessions, Job).attempts == 2


def test_a_job_is_drafted_once_whoever_hears_its_bell(reader: Reader) -> None:
    job_id = queue(reader)
    writer = FakeWriter()
    in_threads(lambda: infer(replace(reader, writer=writer), job_id), 4)
    assert len(writer.images) == 1
    assert only(reader.sessions, Report).id


def test_a_bell_before_its_time_is_not_answered(reader: Reader) -> None:
    with reader.sessions.begin() as session:
        job = add_job(session, due_at=NOON + timedelta(seconds=1))
    assert not infer(reader, job.id)


@pytest.mark.parametrize("when", ["before the report is written", "at its commit"])
def test_a_database_that_was_away_is_no_reason_to_fail_a_job(when: str, reader: Reader) -> None:
    queue(reader)
    sessions = Sessions(reader.sessions.kw["bind"])
    fail_once(sessions, "before_flush" if when.startswith("before") else "before_commit")
    infer(replace(reader, sessions=sessions))
    job = only(reader.sessions, Job)
    assert (job.state, job.attempts) == ("queued", 1)
    assert "CANARY" not in job.reason
    assert all_of(reader.sessions, Report) == []
    clock = FrozenClock()
    clock.forward(3600)
    infer(replace(reader, clock=clock))
    assert only(reader.sessions, Job).state == "reported"


def fail_once(sessions: Sessions, what: str) -> None:
    """The transaction that ends a job's inference fails, once."""
    left = [OperationalError("INSERT INTO report", {"findings": "CANARY"}, Exception("CANARY"))]

    def fail(session: Session, *_: object) -> None:
        if left and any(isinstance(each, Job) and each.state == JobState.REPORTED for each in session):
            raise left.pop()

    event.listen(sessions, what, fail)
