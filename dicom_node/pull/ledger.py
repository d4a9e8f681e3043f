"""What was pulled and what is to be, as rows: a restart neither asks for all of it again nor forgets."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.errors import Transient
from dicom_node.lifecycle import advance, begin, claim
from dicom_node.models import Instance, Job, Pull, Report, Series, Study
from dicom_node.pull.query import FoundStudy
from dicom_node.states import PullState

_PRIORS_OF_DRAFTS_WITHIN = timedelta(days=1)  # older ones were drafted before priors were wanted, or nobody waits


def remember(session: Session, source: str, found: Iterable[FoundStudy], now: datetime) -> int:
    """Have new studies pulled, and those again that have grown. Returns how many these are."""
    wanted = {each.study_instance_uid: each for each in found}
    known = {pull.study_instance_uid: pull for pull in session.exec(_named(source, wanted)).all()}
    new = [each for uid, each in wanted.items() if uid not in known]
    for each in new:
        begin(session, _row(source, each, now), now, reason="found by rule")
    return len(new) + sum(_note_growth(session, pull, wanted[uid], now) for uid, pull in known.items())


def is_due(session: Session, source: str, now: datetime) -> bool:
    due = select(Pull.id).where(Pull.source == source, Pull.state == PullState.PENDING, Pull.due_at <= now)
    return session.exec(due.limit(1)).first() is not None


def take_due(session: Session, source: str, *, now: datetime, lease_s: float) -> Pull | None:
    """Claim what has been due longest."""
    return claim(session, Pull, col(Pull.source) == source, now=now, lease_s=lease_s)


def take(session: Session, source: str, found: FoundStudy, *, now: datetime, lease_s: float) -> Pull | None:
    """Claim the pull of a study that an operator asks for, whatever became of it before. None: it is being pulled."""
    pull = session.exec(_named(source, [found.study_instance_uid]).with_for_update()).first()
    if pull is None:
        pull = _row(source, found, now)
        begin(session, pull, now, reason="an operator asked for it")
    elif pull.state in (PullState.DONE, PullState.FAILED):
        advance(session, pull, PullState.PENDING, now=now, reason="an operator asked again", due_at=now, attempts=0)
    else:
        pull.due_at = min(pull.due_at, now)
        session.add(pull)
        session.flush()
    return claim(session, Pull, col(Pull.id) == pull.id, now=now, lease_s=lease_s)


def remember_priors(session: Session, source: str, now: datetime) -> int:
    """Have the newest prior of every new draft's study looked for. Returns how many they are."""
    looked_for = select(Pull.prior_of).where(Pull.source == source, col(Pull.prior_of).is_not(None))
    drafted = (
        select(Job.study_id)
        .join(Report)
        .where(Report.created_at >= now - _PRIORS_OF_DRAFTS_WITHIN, col(Job.study_id).not_in(looked_for))
        .distinct()
    )
    studies = session.exec(drafted).all()
    for study_id in studies:
        pull = Pull(source=source, prior_of=study_id, due_at=now, created_at=now)
        begin(session, pull, now, reason=f"to compare with study {study_id}")
    return len(studies)


def drafted_file(session: Session, pull: Pull) -> str:
    """The file, below Settings.instances_dir, of the image whose draft the prior is to be compared with."""
    newest = select(Instance.path).join(Report).join(Job).where(Job.study_id == pull.prior_of)
    return session.exec(newest.order_by(col(Report.id).desc()).limit(1)).one()


def note_prior(session: Session, pull: Pull, study_instance_uid: str) -> bool:
    """Write down which study is the prior, before it comes. False: it is here already, and stays what it is.

    Raises Transient if another process has the pull by now.
    """
    here = select(Study.id).where(Study.study_instance_uid == study_instance_uid)
    is_here = session.exec(here).first() is not None
    mine = (col(Pull.id) == pull.id, col(Pull.state) == pull.state, col(Pull.attempts) == pull.attempts)
    values = {"study_instance_uid": study_instance_uid, "for_comparison": not is_here}
    if cast(CursorResult[Any], session.execute(update(Pull).where(*mine).values(**values))).rowcount == 0:
        raise Transient("the lease was lost while the prior was looked for")
    return not is_here


def is_here(session: Session, study_instance_uid: str) -> bool:
    """Whether an object of the study is here; one that was removed is not."""
    objects = select(Instance.id).join(Series).join(Study)
    found = objects.where(Study.study_instance_uid == study_instance_uid, col(Instance.removed_at).is_(None))
    return session.exec(found.limit(1)).first() is not None


def _named(source: str, uids: Iterable[str]) -> SelectOfScalar[Pull]:
    return select(Pull).where(
        Pull.source == source, col(Pull.prior_of).is_(None), col(Pull.study_instance_uid).in_(list(uids))
    )


def _row(source: str, found: FoundStudy, now: datetime) -> Pull:
    return Pull(
        source=source,
        study_instance_uid=found.study_instance_uid,
        instance_count=found.instance_count,
        due_at=now,
        created_at=now,
    )


def _note_growth(session: Session, pull: Pull, found: FoundStudy, now: datetime) -> bool:
    """Have a study pulled again that has more objects than before; one that waits will bring them anyway."""
    if found.instance_count <= pull.instance_count or pull.state == PullState.PULLING:
        return False
    if pull.state == PullState.PENDING:
        pull.instance_count = found.instance_count
        session.add(pull)
        return False
    words = f"the source has {found.instance_count} objects, {pull.instance_count} before"
    changes = {"instance_count": found.instance_count, "due_at": now, "attempts": 0}
    return advance(session, pull, PullState.PENDING, now=now, reason=words, **changes)
