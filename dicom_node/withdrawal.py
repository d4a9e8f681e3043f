"""Withdrawing the drafts of a study: what is pending stops, and who has one is told not to use it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlmodel import Session, col, select

from dicom_node.config import Settings
from dicom_node.deliveries import may_have_arrived, reports_of
from dicom_node.errors import Permanent
from dicom_node.lifecycle import advance, begin, note
from dicom_node.models import Delivery, Job, Report, Study
from dicom_node.orders import is_closed
from dicom_node.seen import require_seen, word_for
from dicom_node.settlement import settle_job
from dicom_node.states import DRAFTING_JOB_STATES, NOT_TOLD_FINAL, WITHDRAWN, DeliveryKind, DeliveryState, JobState

_STOPPED = (DeliveryState.PENDING, DeliveryState.FAILED)
_URGENT = 0  # Delivery.priority


@dataclass(frozen=True)
class Standing:
    """What of a study can be withdrawn."""

    reports: Sequence[Report]  # oldest first
    drafting: Sequence[Job]  # with a draft under way

    @property
    def is_empty(self) -> bool:
        return not self.reports and not self.drafting

    @property
    def word(self) -> str:
        """For the form in which somebody is asked about it."""
        rows: list[Report | Job] = [*self.reports, *self.drafting]
        return word_for((row.__tablename__, row.id) for row in rows)


def standing_of(session: Session, study: Study, *, lock: bool = False) -> Standing:
    """lock: no draft under way ends before the transaction does."""
    drafting = select(Job).where(Job.study_id == study.id, col(Job.state).in_(DRAFTING_JOB_STATES))
    jobs = session.exec(drafting.with_for_update() if lock else drafting).all()
    return Standing([report for report in reports_of(session, study) if report.withdrawn_at is None], jobs)


def withdraw(
    session: Session,
    settings: Settings,
    study_id: int,
    reason: str,
    now: datetime,
    *,
    by: str = "an operator",
    seen: str | None = None,
) -> list[str]:
    """Withdraw every draft of a study that stands, and the one under way. Returns who is told and who is not, in words.

    by: who asked, in words for the timeline. seen: the word of what was shown to whoever asks; else what stands now.
    Raises Permanent when there is nothing to withdraw, or not any more. An image that comes later makes a new draft.
    """
    study = session.get(Study, study_id, with_for_update=True)
    if study is None:
        raise Permanent(f"study {study_id} does not exist")
    standing = standing_of(session, study, lock=True)
    if standing.is_empty:
        had_some = reports_of(session, study)
        raise Permanent(f"study {study_id}: {'its drafts were withdrawn already' if had_some else 'it has no draft'}")
    require_seen(study_id, seen, standing.word)
    for job in standing.drafting:  # its worker, if it has one, finds it answered when it wants to store the draft
        advance(session, job, JobState.SKIPPED, now=now, reason=WITHDRAWN)
    note(session, study, now, f"{by} withdrew its drafts: {reason}")
    sentences = list(dict.fromkeys(_withdraw_reports(session, settings, study, standing.reports, reason, now)))
    for sentence in sentences:
        note(session, study, now, sentence)
    return sentences or ["nobody has a draft of it"]


def _withdraw_reports(
    session: Session, settings: Settings, study: Study, reports: Sequence[Report], reason: str, now: datetime
) -> Iterator[str]:
    """Newest first: of a RIS no message is cancelled that is older than one that it acknowledged in its place."""
    replaced: set[str] = set()  # the destinations of which nothing older stands
    has_final = is_closed(session, study)
    for report in reversed(reports):
        report.withdrawn_at, report.withdrawal_reason = now, reason
        session.add(report)
        there = _stop_deliveries(session, report, now)
        for destination in dict.fromkeys(each.destination for each in there):
            kind, words = _way_to_tell(settings, destination, has_final)
            if kind == DeliveryKind.REJECTION or destination not in replaced:
                yield f"{destination} {words}"
                _tell(session, report, destination, kind, now)
        replaced |= {each.destination for each in there if each.delivered_at is not None}
        _settle(session, report, now)


def _stop_deliveries(session: Session, report: Report, now: datetime) -> list[Delivery]:
    """Cancel what can be cancelled. Returns the deliveries that have arrived, or may have."""
    # Locked: what a relay has claimed in this moment is seen as claimed.
    ours = select(Delivery).where(Delivery.report_id == report.id).order_by(col(Delivery.id)).with_for_update()
    deliveries = session.exec(ours.execution_options(populate_existing=True)).all()
    there = [each for each in deliveries if may_have_arrived(each)]
    for delivery in deliveries:
        delivery.wants_commitment = False
        session.add(delivery)
        if delivery.state in _STOPPED:
            advance(session, delivery, DeliveryState.CANCELLED, now=now, reason=WITHDRAWN)
    return there


def _way_to_tell(settings: Settings, destination: str, has_final: bool) -> tuple[DeliveryKind | None, str]:
    """The kind of what tells this destination, None for nothing; and words that follow its name."""
    pacs = next((each for each in settings.pacs if each.name == destination), None)
    if pacs is not None and pacs.rejection_notes:
        return DeliveryKind.REJECTION, "is told by a rejection note"
    if pacs is not None:
        return None, "was not told: it does not take rejection notes"
    ris = next((each for each in settings.ris if each.name == destination), None)
    if ris is not None and has_final:
        return None, NOT_TOLD_FINAL
    if ris is not None and ris.cancellations:
        return DeliveryKind.CANCELLATION, "is told by a cancelling ORU"
    return None, f"was not told: {'it does not take cancellations' if ris else 'it is not in the settings'}"


def _tell(session: Session, report: Report, destination: str, kind: DeliveryKind | None, now: datetime) -> None:
    if kind is None:
        return
    row = Delivery(
        report_id=cast(int, report.id), kind=kind, destination=destination, priority=_URGENT, due_at=now, created_at=now
    )
    begin(session, row, now, reason=f"tells {destination} that the draft was withdrawn")


def _settle(session: Session, report: Report, now: datetime) -> None:
    """The job is open again while somebody has to be told, and a failure to deliver the draft needs nobody any more."""
    job = session.get_one(Job, report.job_id, with_for_update=True)
    deliveries = session.exec(select(Delivery).where(Delivery.report_id == report.id).order_by(col(Delivery.id))).all()
    is_open = any(each.state == DeliveryState.PENDING for each in deliveries)
    if job.state == JobState.FAILED or (job.state == JobState.DONE and is_open):
        advance(session, job, JobState.REPORTED, now=now, reason=WITHDRAWN)
    if deliveries:
        settle_job(session, deliveries[-1], now)
