"""The five stages of a study, from its first image to the last acknowledgement: when, who, and in which words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.deliveries import ACKNOWLEDGED
from dicom_node.models import Delivery, Instance, Job, Report, Study, Transition
from dicom_node.states import WITHDRAWALS, DeliveryState, JobState, StudyState


class Mark(StrEnum):
    """How a stage stands."""

    DONE = "done"
    NOW = "under way"
    FAILED = "failed"
    SKIPPED = "skipped"
    AHEAD = "not yet"


@dataclass(frozen=True)
class Stage:
    name: str
    mark: Mark
    at: datetime | None = None  # when it was reached
    who: str = ""  # a peer, or the model
    words: str = ""


@dataclass(frozen=True)
class Course:
    """What is known of a study, oldest first. job: the one that says where the study is; report and deliveries its."""

    study: Study
    instances: Sequence[Instance]
    job: Job | None
    report: Report | None
    deliveries: Sequence[Delivery]
    moves: Sequence[Transition]  # of the study and of these deliveries


def stages_of(course: Course) -> tuple[Stage, ...]:
    return (_received(course), _complete(course), _drafted(course), _sent(course), _acknowledged(course))


def _received(course: Course) -> Stage:
    senders = ", ".join(dict.fromkeys(instance.calling_ae for instance in course.instances))
    count = len(course.instances)
    return Stage("received", Mark.DONE, course.study.created_at, senders, f"{count} object{'s' * (count != 1)}")


def _complete(course: Course) -> Stage:
    if course.study.state != StudyState.COMPLETE:
        return Stage("complete", Mark.NOW, words="images may still come")
    closed = [move for move in course.moves if (move.row_kind, move.new) == ("study", StudyState.COMPLETE) and move.old]
    move = next((each for each in reversed(closed) if each.old != each.new), None)
    return Stage("complete", Mark.DONE, move.at if move else None, words=move.reason if move else "")


def _drafted(course: Course) -> Stage:
    job, report = course.job, course.report
    if report is not None:
        who = f"{report.model_name} {report.model_version}"
        return Stage("drafted", Mark.DONE, report.created_at, who, f"in {report.seconds:.1f} s")
    if job is None:
        return Stage("drafted", Mark.AHEAD)
    mark = {JobState.FAILED: Mark.FAILED, JobState.SKIPPED: Mark.SKIPPED}.get(JobState(job.state), Mark.NOW)
    words = {JobState.QUEUED: "waits for a worker", JobState.INFERRING: "a worker drafts"}
    return Stage("drafted", mark, words=job.reason or words.get(JobState(job.state), ""))


def _sent(course: Course) -> Stage:
    drafts, wanted = _drafts(course), _wanted(course)
    if not wanted:
        return Stage("sent", Mark.SKIPPED, words=drafts[-1].reason) if drafts else Stage("sent", Mark.AHEAD)
    sent = [each for each in wanted if each.payload is not None]
    moves = [move for move in course.moves if (move.row_kind, move.new) == ("delivery", DeliveryState.SENDING)]
    mark = Mark.DONE if len(sent) == len(wanted) else _unfinished(wanted)
    names = ", ".join(dict.fromkeys(each.destination for each in wanted))
    return Stage("sent", mark, _last(moves), names, f"{len(sent)} of {len(wanted)}")


def _acknowledged(course: Course) -> Stage:
    wanted = _wanted(course)
    answered = [each for each in wanted if each.state in ACKNOWLEDGED]
    if not any(each.payload is not None for each in wanted):
        return Stage("acknowledged", Mark.AHEAD)
    moves = [move for move in course.moves if move.row_kind == "delivery" and move.new in ACKNOWLEDGED]
    words = ", ".join(f"{each.name} {each.ack_code}" for each in wanted if each.ack_code)
    mark = Mark.DONE if len(answered) == len(wanted) else _unfinished(wanted)
    return Stage("acknowledged", mark, _last(moves), words=words)


def _drafts(course: Course) -> list[Delivery]:
    return [each for each in course.deliveries if each.kind not in WITHDRAWALS]


def _wanted(course: Course) -> list[Delivery]:
    """What was cancelled is not waited for."""
    return [each for each in _drafts(course) if each.state != DeliveryState.CANCELLED]


def _unfinished(deliveries: Sequence[Delivery]) -> Mark:
    return Mark.FAILED if any(each.state == DeliveryState.FAILED for each in deliveries) else Mark.NOW


def _last(moves: Sequence[Transition]) -> datetime | None:
    return moves[-1].at if moves else None
