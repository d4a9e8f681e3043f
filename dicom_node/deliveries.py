"""Deliveries: how they begin, what overtakes what, what is cancelled for what, and what a peer may have by now."""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import cast

from sqlalchemy import ColumnElement, exists, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from dicom_node.config import Settings
from dicom_node.lifecycle import advance, begin
from dicom_node.models import Delivery, Instance, Job, Report, Study
from dicom_node.settlement import settle_job
from dicom_node.states import WITHDRAWALS, DeliveryState

ACKNOWLEDGED = (DeliveryState.DELIVERED, DeliveryState.COMMITTED)


def add_deliveries(
    session: Session,
    settings: Settings,
    report: Report,
    now: datetime,
    *,
    priority: int,
    only: Collection[str] | None,
) -> int:
    """The outbox of a new draft: a row for each destination and kind. Returns how many.

    only: the destinations that get it; None: all.
    """
    wanted = [each for each in settings.deliveries if only is None or each[0] in only]
    for destination, kind in wanted:
        row = Delivery(
            report_id=cast(int, report.id),
            kind=kind,
            destination=destination,
            priority=priority,
            wants_commitment=destination in settings.committing,
            due_at=now,
            created_at=now,
        )
        begin(session, row, now, reason=f"for {row.name}")
    return len(wanted)


def study_of(session: Session, delivery: Delivery) -> int:
    """The id of the study whose draft it is."""
    drafted = select(Job.study_id).join(Report).where(Report.id == delivery.report_id)
    return session.exec(drafted).one()


def was_taken() -> ColumnElement[bool]:
    """Of a delivery: its peer said once that it has it, whatever became of sending it again."""
    return col(Delivery.delivered_at).is_not(None)


def may_have_arrived(delivery: Delivery) -> bool:
    """Whether its peer may have the draft: it said so, or it is being sent, or went out once and was not answered."""
    went_out = delivery.has_gone_out or (delivery.payload is not None and not delivery.ack_code)
    return delivery.kind not in WITHDRAWALS and (
        delivery.delivered_at is not None or delivery.state == DeliveryState.SENDING or went_out
    )


@cache
def none_on_its_way() -> ColumnElement[bool]:
    """Of a delivery: nothing of its study is being sent to its destination. So nothing overtakes what is older.

    A draft waits for pending withdrawals, too: they are always older, and would take back the draft as well.
    """
    other, report, job = aliased(Delivery), aliased(Report), aliased(Job)
    own_report, own_job = aliased(Report), aliased(Job)
    is_sent = col(other.state) == DeliveryState.SENDING
    is_due_before = (
        col(Delivery.kind).not_in(WITHDRAWALS)
        & col(other.kind).in_(WITHDRAWALS)
        & (col(other.state) == DeliveryState.PENDING)
    )
    others = (
        select(other.id)
        .join(report, col(report.id) == col(other.report_id))
        .join(job, col(job.id) == col(report.job_id))
        .join(own_job, col(own_job.study_id) == col(job.study_id))
        .join(own_report, col(own_report.job_id) == col(own_job.id))
        .where(col(own_report.id) == col(Delivery.report_id))
        .where(col(other.destination) == col(Delivery.destination), or_(is_sent, is_due_before))
    )
    return ~exists(others.correlate(Delivery))


def cancel_pending(session: Session, reports: Iterable[Report], now: datetime, reason: str) -> None:
    """What of these drafts was not sent yet is not sent any more; what is being sent looks for itself."""
    ours = col(Delivery.report_id).in_([report.id for report in reports])
    pending = select(Delivery).where(ours, Delivery.state == DeliveryState.PENDING)
    deliveries = session.exec(pending.where(col(Delivery.kind).not_in(WITHDRAWALS))).all()
    for delivery in deliveries:
        advance(session, delivery, DeliveryState.CANCELLED, now=now, reason=reason)
    for delivery in deliveries:  # also where a relay was first: it did not see the others cancelled
        settle_job(session, delivery, now)


def have_a_draft(session: Session, reports: Iterable[Report]) -> set[str]:
    """The destinations that may have one of these drafts, which are not withdrawn."""
    standing = [report.id for report in reports if report.withdrawn_at is None]
    sent = session.exec(select(Delivery).where(col(Delivery.report_id).in_(standing)))
    return {each.destination for each in sent if may_have_arrived(each)}


def reports_of(session: Session, study: Study) -> list[Report]:
    """The drafts of a study, oldest first."""
    ours = select(Report).join(Job).where(Job.study_id == study.id)
    return list(session.exec(ours.order_by(col(Job.revision))))


def came_again(session: Session, report: Report) -> bool:
    """Whether the image of a draft is here with other content, too, under its SOP Instance UID."""
    uid = session.get_one(Instance, report.instance_id).sop_instance_uid
    return len(session.exec(select(Instance.id).where(Instance.sop_instance_uid == uid)).all()) > 1
