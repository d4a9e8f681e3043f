"""Removing the images of a study, in three steps that each may be the last before a crash.

1. Its rows say that the files are removed: from here on nobody counts on them, and who sends one again has it stored.
2. The files go from the disk.
3. The rows forget the names. Step 2 is done again for every row that still has one.

The other way round a row would, for a while, promise what is not there.
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import literal_column, update
from sqlmodel import Session, col, select

from dicom_node.audit import AuditTrail
from dicom_node.database import Sessions
from dicom_node.lifecycle import note
from dicom_node.models import Instance, Series, Study
from dicom_node.retention.eligible import take_ended
from dicom_node.storage import InstanceStore

_AT_ONCE = 500  # files


@dataclass(frozen=True)
class _Doomed:
    """A file that a row no longer counts on."""

    instance_id: int
    path: str
    study_instance_uid: str
    patient_id: str


def give_up_images(session: Session, study_id: int, *, ended_before: datetime, now: datetime, why: str) -> int:
    """Step 1. Returns how many objects go; 0: somebody needs the study again."""
    study = take_ended(session, study_id, ended_before)
    if study is None:
        return 0
    instances = instances_with_files(session, study_id)
    for instance in instances:
        instance.removed_at = now
        session.add(instance)
    study.images_removed_at = now
    session.add(study)
    if instances:
        note(session, study, now, f"its {len(instances)} objects are removed: {why}; rows and drafts stay")
    return len(instances)


def instances_with_files(session: Session, study_id: int) -> list[Instance]:
    of_study = select(Instance).join(Series).where(Series.study_id == study_id, col(Instance.removed_at).is_(None))
    return list(session.exec(of_study.order_by(col(Instance.id))))


def remove_files(sessions: Sessions, store: InstanceStore, trail: AuditTrail) -> bool:
    """Steps 2 and 3, of some hundred files. False: there are none to go. Raises OSError if the disk fails."""
    with sessions() as session:
        doomed = _find_doomed(session)
    store.remove(each.path for each in doomed)
    for (study_instance_uid, patient_id), _ in groupby(doomed, lambda each: (each.study_instance_uid, each.patient_id)):
        trail.deleted(study_instance_uid, patient_id)  # before it is forgotten: rather twice than never
    with sessions.begin() as session:
        for each in doomed:
            # Not where it came again meanwhile: the row names another file then.
            same = (col(Instance.id) == each.instance_id, col(Instance.path) == each.path)
            session.execute(update(Instance).where(*same).values(path=""))
    return bool(doomed)


def _find_doomed(session: Session) -> list[_Doomed]:
    found = select(Instance, Study).join(Series, col(Series.id) == col(Instance.series_id)).join(Study)
    # A literal, not a parameter: or SQLite could not tell that the index of these few rows will do.
    to_go = found.where(col(Instance.removed_at).is_not(None), col(Instance.path) != literal_column("''"))
    rows = session.exec(to_go.order_by(col(Study.id), col(Instance.id)).limit(_AT_ONCE)).all()
    return [
        _Doomed(instance.id or 0, instance.path, study.study_instance_uid, study.patient_id) for instance, study in rows
    ]
