"""What a person may do to a study that is stuck, or whose draft a peer has lost."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.deliveries import ACKNOWLEDGED
from dicom_node.errors import Permanent
from dicom_node.failures import needs_person
from dicom_node.lifecycle import advance, note
from dicom_node.models import Delivery, Job, Report, Study
from dicom_node.orders import is_closed
from dicom_node.states import CLOSED, WITHDRAWALS, DeliveryState, JobState
from dicom_node.timeline import current_job

_RESENDABLE = (DeliveryState.FAILED, DeliveryState.PENDING, *ACKNOWLEDGED)


def retry(session: Session, study_id: int, now: datetime, *, by: str = "an operator") -> str:
    """Try a failed or skipped study again: its failed deliveries as the same bytes, or its draft. Returns what happens.

    by: who asked, in words for the timeline.
    Raises Permanent, with the reason, when there is nothing to retry.
    """
    job = _locked_job(session, study_id)
    if job.state not in (JobState.FAILED, JobState.SKIPPED):
        raise Permanent(f"study {study_id}: its job is {job.state}, only failed and skipped ones can be retried")
    failed = _failed_deliveries(session, job)
    try:
        return _retry_deliveries(session, job, failed, now, by) if failed else _redraft(session, job, now, by)
    except IntegrityError as error:
        raise Permanent(f"study {study_id}: another draft of it is under way, retry when that has ended") from error


def failed_studies(session: Session, destination: str) -> list[int]:
    """What `retry` would take up of all that waits for a person, the oldest first.

    destination: only what failed at this PACS or RIS; empty: at any.
    """
    numbers = session.exec(select(Job.study_id).where(needs_person(Job)).distinct().order_by(col(Job.study_id))).all()
    return [number for number in numbers if _has_failed(session, current_job(session, number), destination)]


def resend(
    session: Session, study_id: int, destination: str, now: datetime, *, kind: str = "", by: str = "an operator"
) -> str:
    """Send the newest draft of a study to one destination now, as the same bytes, also if it has it.

    kind: of the one delivery that is meant; empty: all of that destination. by: who asked, in words for the timeline.
    Returns what happens. Raises Permanent, with the reason, when nothing can be sent.
    """
    job = _locked_job(session, study_id)
    report = _report_of(session, job)
    if report is None:
        raise Permanent(f"study {study_id}: it has no draft that could be sent")
    if is_closed(session, session.get_one(Study, study_id)):
        raise Permanent(f"study {study_id}: {CLOSED}")
    to = _resendable_of(report).where(Delivery.destination == destination).with_for_update()
    found = session.exec(to.execution_options(populate_existing=True))
    chosen = [each for each in found if kind in ("", each.kind)]
    if not chosen:
        raise Permanent(f"study {study_id}: nothing that is for {destination} can be sent now")
    words = f"{by} asked to send it to {destination}"
    _reopen(session, job, chosen, now, words)
    for delivery in chosen:
        _send_now(session, delivery, now, words)
    return f"sends {', '.join(each.kind for each in chosen)} to {destination}"


def resendable(session: Session, study: Study) -> Sequence[Delivery]:
    """What `resend` could send now."""
    job = current_job(session, study.id or 0)
    report = _report_of(session, job) if job else None
    return () if report is None or is_closed(session, study) else session.exec(_resendable_of(report)).all()


def _locked_job(session: Session, study_id: int) -> Job:
    """The job that says where the study is. Raises Permanent if there is none."""
    job = current_job(session, study_id)
    if job is None:
        raise Permanent(f"study {study_id}: there is no job yet")
    session.refresh(job, with_for_update=True)  # a delivery that fails now waits, and then finds the job resent
    return job


def _has_failed(session: Session, job: Job | None, destination: str) -> bool:
    if job is None or job.state != JobState.FAILED:
        return False
    return not destination or destination in {each.destination for each in _failed_deliveries(session, job)}


def _failed_deliveries(session: Session, job: Job) -> Sequence[Delivery]:
    statement = select(Delivery).join(Report).where(Report.job_id == job.id, Delivery.state == DeliveryState.FAILED)
    return session.exec(statement).all()


def _report_of(session: Session, job: Job) -> Report | None:
    return session.exec(select(Report).where(Report.job_id == job.id)).first()


def _resendable_of(report: Report) -> SelectOfScalar[Delivery]:
    """Of a draft that was withdrawn, what tells so and nothing else."""
    is_withdrawal = col(Delivery.kind).in_(WITHDRAWALS)
    wanted = is_withdrawal if report.withdrawn_at else ~is_withdrawal
    ours = select(Delivery).where(Delivery.report_id == report.id, wanted, col(Delivery.state).in_(_RESENDABLE))
    return ours.order_by(col(Delivery.id))


def _reopen(session: Session, job: Job, chosen: Sequence[Delivery], now: datetime, words: str) -> None:
    """Have the job wait for these deliveries. If others of it have failed it stays failed: nothing else says so."""
    ours = {each.id for each in chosen}
    has_others = any(each.id not in ours for each in _failed_deliveries(session, job))
    if job.state == JobState.DONE or (job.state == JobState.FAILED and not has_others):
        advance(session, job, JobState.REPORTED, now=now, reason=words)


def _send_now(session: Session, delivery: Delivery, now: datetime, words: str) -> None:
    if delivery.state == DeliveryState.PENDING:
        delivery.due_at = now
        note(session, delivery, now, words)
        return
    advance(session, delivery, DeliveryState.PENDING, now=now, reason=words, due_at=now, attempts=0)


def _retry_deliveries(session: Session, job: Job, failed: Sequence[Delivery], now: datetime, by: str) -> str:
    words = f"{by} asked to resend"
    advance(session, job, JobState.REPORTED, now=now, reason=words)
    for delivery in failed:
        _send_now(session, delivery, now, words)
    return f"sends again to {', '.join(delivery.destination for delivery in failed)}"


def _redraft(session: Session, job: Job, now: datetime, by: str) -> str:
    anew = {"due_at": now, "attempts": 0, "decision": None}  # the rules, too, are asked again
    advance(session, job, JobState.QUEUED, now=now, reason=f"{by} asked to draft again", **anew)
    return "drafts again"
