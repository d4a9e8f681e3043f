"""Who said that a study is complete, and whether all that they named is here."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, distinct, func
from sqlmodel import Session, col, select

from dicom_node.models import Declaration, Instance, Study
from dicom_node.states import StudyState

_NAMED = func.count(distinct(col(Declaration.sop_instance_uid)))
_HERE = func.count(distinct(col(Instance.sop_instance_uid)))


def declare_complete(
    session: Session, *, study_instance_uid: str, now: datetime, reason: str, instances: Collection[str]
) -> None:
    """Note, in the transaction of the fact, that a study is complete as soon as the instances are here.

    The study may have no image yet, or may have been closed already. instances: SOP Instance UIDs; none: as it is.
    reason: who said so, in words for the timeline ("HL7 message ORU^R01"). What several say in the same words is one
    declaration that names the instances of all.
    """
    named: list[str | None] = [*sorted(set(instances))] or [None]
    session.add_all(
        Declaration(study_instance_uid=study_instance_uid, reason=reason, sop_instance_uid=uid, created_at=now)
        for uid in named
    )
    study = session.exec(select(Study).where(Study.study_instance_uid == study_instance_uid).with_for_update()).first()
    if study is not None and study.state == StudyState.COMPLETE:
        spend(session, study)


def fulfilled(session: Session, studies: Collection[Study]) -> dict[str, str]:
    """Why studies are complete, by Study Instance UID: those of which nothing is missing that somebody named."""
    said = _fulfilled(session, [study.study_instance_uid for study in studies])
    return {uid: f"{reason}; images named: {count}, all here" if count else reason for uid, reason, count in said}


def spend(session: Session, study: Study) -> None:
    """Forget the study's fulfilled declarations once it is closed: of an image that comes later they say nothing."""
    for uid, reason, _ in _fulfilled(session, [study.study_instance_uid]):
        spent = (col(Declaration.study_instance_uid) == uid, col(Declaration.reason) == reason)
        session.execute(delete(Declaration).where(*spent))


def _fulfilled(session: Session, study_instance_uids: Collection[str]) -> Sequence[tuple[str, str, int]]:
    """Study, reason and number of named instances of the declarations of which every named instance is here."""
    statement = (
        select(Declaration.study_instance_uid, Declaration.reason, _NAMED)
        .outerjoin(Instance, col(Instance.sop_instance_uid) == col(Declaration.sop_instance_uid))
        .where(col(Declaration.study_instance_uid).in_(study_instance_uids))
        .group_by(col(Declaration.study_instance_uid), col(Declaration.reason))
        .having(_NAMED == _HERE)
        .order_by(col(Declaration.reason))
    )
    return session.exec(statement).all()
