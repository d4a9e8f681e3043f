"""The steps of studies, for traces: not measured where they are done, but read from the timeline when they are over.

So a step that spans processes, hosts or crashes has its true begin and end, and no process tells another of a trace.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, select

from dicom_node.clock import CLOCKS_DIFFER
from dicom_node.models import Delivery, Job, Report, Study, Transition
from dicom_node.states import DeliveryState, JobState, StudyState

RECEIVE, SELECT, DRAFT, DELIVER = "receive", "select", "draft", "deliver"
_MOST_MOVES = 500  # at once


@dataclass(frozen=True)
class Step:
    """Something that was done to a study, from when to when."""

    study: Study
    revision: int  # of its draft: each has one RECEIVE, which all other steps of it follow
    name: str
    number: int  # tells it from others of its name in this study: the same whenever it is read
    began_at: datetime
    ended_at: datetime
    is_failed: bool = False
    facts: Mapping[str, str | int] = field(default_factory=dict)  # ids, states, names of the settings, codes


def steps_after(session: Session, position: int, *, settled_before: datetime) -> tuple[list[Step], int]:
    """The steps that ended after this Transition, up to a limit, and the id of the last Transition that was looked at.

    settled_before: a later Transition may be committed before an earlier one, and is left until then.
    """
    after = select(Transition).where(col(Transition.id) > position).order_by(col(Transition.id)).limit(_MOST_MOVES)
    steps: list[Step] = []
    for move in session.exec(after):
        if settled_before <= move.at < settled_before + CLOCKS_DIFFER:
            break
        read = _READ.get((move.row_kind, move.old))
        if read is not None and move.new != move.old:
            steps += read(session, move)
        position = move.id or 0
    return steps, position


def newest_position(session: Session) -> int:
    """The id of the last Transition."""
    return session.exec(select(func.max(Transition.id))).one() or 0


def _received(session: Session, move: Transition) -> Iterator[Step]:
    study = session.get_one(Study, move.row_id)
    completed = (
        select(func.count(col(Transition.id)))
        .where(Transition.row_kind == move.row_kind, Transition.row_id == move.row_id)
        .where(Transition.new == StudyState.COMPLETE, Transition.old != StudyState.COMPLETE)
        .where(col(Transition.id) <= move.id)
    )
    revision = session.exec(completed).one()
    yield Step(study, revision, RECEIVE, revision, _began(session, move), move.at)


def _drafted(session: Session, move: Transition) -> Iterator[Step]:
    """An attempt at a draft: what came before the model wrote, and the writing, which its report has the seconds of."""
    job = session.get_one(Job, move.row_id)
    study, number = session.get_one(Study, job.study_id), move.id or 0
    facts: dict[str, str | int] = {"job": move.row_id, "state": move.new}
    is_failed = move.new in (JobState.FAILED, JobState.QUEUED)
    began_at = _began(session, move)
    report = session.exec(select(Report).where(Report.job_id == job.id)).first()
    if move.new != JobState.REPORTED or report is None:
        name = SELECT if move.new == JobState.SKIPPED else DRAFT
        yield Step(study, job.revision, name, number, began_at, move.at, is_failed, facts)
        return
    wrote_at = max(began_at, move.at - timedelta(seconds=report.seconds))
    yield Step(study, job.revision, SELECT, number, began_at, wrote_at, facts=facts)
    yield Step(study, job.revision, DRAFT, number, wrote_at, move.at, facts={**facts, "tokens": report.token_count})


def _delivered(session: Session, move: Transition) -> Iterator[Step]:
    """An attempt at a delivery."""
    delivery = session.get_one(Delivery, move.row_id)
    job = session.get_one(Job, session.get_one(Report, delivery.report_id).job_id)
    study = session.get_one(Study, job.study_id)
    facts: dict[str, str | int] = {
        "delivery": move.row_id,
        "destination": delivery.destination,
        "kind": delivery.kind,
        "state": move.new,
    }
    is_failed = move.new in (DeliveryState.FAILED, DeliveryState.PENDING)
    yield Step(study, job.revision, DELIVER, move.id or 0, _began(session, move), move.at, is_failed, facts)


def _began(session: Session, move: Transition) -> datetime:
    """When the row came into the state that it left by this move."""
    before = (
        select(Transition.at)
        .where(Transition.row_kind == move.row_kind, Transition.row_id == move.row_id)
        .where(col(Transition.id) < move.id, Transition.new == move.old, Transition.old != move.old)
    )
    return session.exec(before.order_by(col(Transition.id).desc()).limit(1)).first() or move.at


_READ: Mapping[tuple[str, str], Callable[[Session, Transition], Iterator[Step]]] = {
    ("study", StudyState.RECEIVING): _received,
    ("job", JobState.INFERRING): _drafted,
    ("delivery", DeliveryState.SENDING): _delivered,
}
