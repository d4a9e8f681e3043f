"""Traces of studies: read from the timeline, sent to a collector that decodes what it gets."""

import threading
from datetime import timedelta

import pytest
from collectors import said, taking_traces
from doubles import NOON, FrozenClock
from rows import add_report, add_study, only
from sqlmodel import Session
from waiting import LONG_S

from dicom_node.database import Sessions
from dicom_node.lifecycle import advance, begin, claim, put_back
from dicom_node.models import Delivery, Job, Shipped, Study
from dicom_node.states import DeliveryKind, DeliveryState, JobState, StudyState
from dicom_node.tracing.otlp import Exporter
from dicom_node.tracing.shipping import TraceShipping
from dicom_node.tracing.steps import Step, steps_after


def tell_a_story(session: Session, clock: FrozenClock) -> None:
    """A study is received for 4 s, waits, is drafted for 6 s, is sent twice; its first delivery fails."""
    study = add_study(session, accession_number="CANARY-ACC", patient_id="CANARY-ID")
    advance(session, study, StudyState.COMPLETE, now=clock.forward(4))
    job = Job(study_id=study.id, due_at=clock(), created_at=clock())
    begin(session, job, clock(), reason="study complete")
    clock.forward(1)
    assert claim(session, Job, now=clock(), lease_s=60)
    advance(session, job, JobState.REPORTED, now=clock.forward(6))
    report = add_report(session, job)
    report.seconds = 5.0
    delivery = Delivery(
        report_id=report.id, kind=DeliveryKind.SR, destination="pacs", due_at=clock(), created_at=clock()
    )
    begin(session, delivery, clock(), reason="for pacs")
    claim(session, Delivery, now=clock(), lease_s=60)
    put_back(session, delivery, now=clock.forward(2), due_at=clock(), max_attempts=9, reason="CANARY^PHI is away")
    claim(session, Delivery, now=clock(), lease_s=60)
    advance(session, delivery, DeliveryState.DELIVERED, now=clock.forward(3))


def told(steps: list[Step]) -> list[tuple[str, float, float, bool]]:
    """Of each step its name, when it began and ended in seconds since noon, and whether it failed."""
    return [
        (s.name, (s.began_at - NOON).total_seconds(), (s.ended_at - NOON).total_seconds(), s.is_failed) for s in steps
    ]


STORY = [
    ("receive", 0, 4, False),
    ("select", 5, 6, False),
    ("draft", 6, 11, False),
    ("deliver", 11, 13, True),
    ("deliver", 13, 16, False),
]


def test_the_timeline_tells_the_steps_with_their_true_times(sessions: Sessions) -> None:
    clock = FrozenClock()
    with sessions.begin() as session:
        tell_a_story(session, clock)
    with sessions() as session:
        steps, position = steps_after(session, 0, settled_before=clock.forward(1))
        assert told(steps) == STORY
        assert {(step.study.id, step.revision) for step in steps} == {(only(sessions, Study).id, 1)}
        assert steps_after(session, position, settled_before=clock()) == ([], position)


def test_what_may_not_be_committed_yet_is_left(sessions: Sessions) -> None:
    clock = FrozenClock()
    with sessions.begin() as session:
        tell_a_story(session, clock)
    with sessions() as session:
        steps, position = steps_after(session, 0, settled_before=clock())
        assert told(steps) == STORY[:-1]
        rest, _ = steps_after(session, position, settled_before=clock.forward(1))
        assert told(rest) == STORY[-1:]


def test_a_move_of_a_clock_that_was_ahead_holds_up_no_other(sessions: Sessions) -> None:
    ahead, clock = FrozenClock(NOON + timedelta(days=365)), FrozenClock()
    with sessions.begin() as session:
        advance(session, add_study(session), StudyState.COMPLETE, now=ahead())
    with sessions.begin() as session:
        advance(session, add_study(session), StudyState.COMPLETE, now=clock())
    with sessions() as session:
        steps, _ = steps_after(session, 0, settled_before=clock.forward(1))
    assert [step.name for step in steps] == ["receive", "receive"]


@pytest.mark.parametrize(
    ("new", "name", "is_failed"),
    [(JobState.SKIPPED, "select", False), (JobState.FAILED, "draft", True), (JobState.QUEUED, "draft", True)],
)
def test_an_attempt_without_a_draft_is_a_step_too(
    new: JobState, name: str, is_failed: bool, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        study = add_study(session)
        begin(session, Job(study_id=study.id, due_at=NOON, created_at=NOON), NOON, reason="")
        job = claim(session, Job, now=NOON, lease_s=60)
        assert job
        advance(session, job, new, now=NOON)
    with sessions() as session:
        (step,), _ = steps_after(session, 0, settled_before=FrozenClock().forward(1))
    assert (step.name, step.is_failed, step.facts) == (name, is_failed, {"job": only(sessions, Job).id, "state": new})


def test_spans_of_a_study_are_one_trace_without_a_patient(sessions: Sessions) -> None:
    clock = FrozenClock()
    with taking_traces() as (collector, endpoint):
        shipping = TraceShipping(Exporter(endpoint, "CXRNODE"), sessions, clock)
        assert not shipping.ship()  # it begins now
        with sessions.begin() as session:
            tell_a_story(session, clock)
        clock.forward(6)
        assert shipping.ship()
        assert not shipping.ship()
    receive, *others = collector.spans
    assert [span.name for span in collector.spans] == [name for name, *_ in STORY]
    assert [(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for span in collector.spans] == [4, 1, 5, 2, 3]
    assert (len(receive.trace_id), len({span.trace_id for span in collector.spans})) == (16, 1)
    assert len({span.span_id for span in collector.spans}) == 5
    assert {span.parent_span_id for span in others} == {receive.span_id}
    assert receive.parent_span_id == b""
    study_id = only(sessions, Study).id
    assert all(said(span)["study"] == study_id for span in collector.spans)
    delivery_id = only(sessions, Delivery).id
    assert said(others[-1]) == {
        "study": study_id, "revision": 1, "delivery": delivery_id, "destination": "pacs", "kind": "sr",
        "state": "delivered",
    }  # fmt: skip
    assert [span.status.code for span in others] == [1, 1, 2, 1]
    assert collector.resources[0]["service.name"] == "dicom-node"
    assert "CANARY" not in str(collector.spans)


def test_what_a_collector_does_not_take_is_sent_again_as_the_same_spans(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    clock, now = FrozenClock(), [0.0]
    with taking_traces() as (collector, endpoint):
        shipping = TraceShipping(Exporter(endpoint, "CXRNODE"), sessions, clock, timer=lambda: now[0])
        shipping.ship()
        with sessions.begin() as session:
            tell_a_story(session, clock)
        clock.forward(6)
        collector.status = 400
        assert not shipping.ship()
        assert "traces_not_sent" in caplog.text
        collector.status = 200
        assert not shipping.ship()  # it waits
        now[0] += 31
        assert shipping.ship()
        first = [span.span_id for span in collector.spans]
        with sessions.begin() as session:
            session.get_one(Shipped, "traces").position = 0
        assert shipping.ship()
        assert [span.span_id for span in collector.spans] == first * 2


def test_looking_for_steps_waits_for_nobody_who_writes(sqlite_sessions: Sessions) -> None:
    with taking_traces() as (_, endpoint):
        shipping = TraceShipping(Exporter(endpoint, "CXRNODE"), sqlite_sessions, FrozenClock())
        shipping.ship()
        with sqlite_sessions.begin() as session:
            session.connection()
            asked = threading.Thread(target=shipping.ship)
            asked.start()
            asked.join(LONG_S)
            assert not asked.is_alive()


def test_two_nodes_and_two_studies_have_traces_of_their_own(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for _ in range(2):
            advance(session, add_study(session), StudyState.COMPLETE, now=NOON)
    with sessions() as session:
        steps, _ = steps_after(session, 0, settled_before=FrozenClock().forward(1))
    traces = {Exporter("http://127.0.0.1:1/v1/traces", node)._span(s).context.trace_id for node in "AB" for s in steps}
    assert len(traces) == 4
