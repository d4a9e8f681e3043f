"""Removing the images of a study, in three steps that each may be the last before a crash.

1. Its rows say that the files are removed: from here on nobody counts on them, and who sends one again has it stored.
   Of an image that was drafted the header stays with its row.
2. The files go from the disk.
3. The rows forget the names. Steps 2 and 3 are done again for every row that still has one.

The other way round a row would, for a while, promise what is not there.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, literal_column, update
from sqlmodel import Session, col, select

from dicom_node.audit import AuditTrail
from dicom_node.database import Sessions
from dicom_node.lifecycle import note
from dicom_node.models import Instance, Series, Study
from dicom_node.retention.eligible import take_ended
from dicom_node.retention.kept_header import keep_headers
from dicom_node.storage import InstanceStore

_AT_ONCE = 500  # rows: whoever receives does not wait longer for the database


def give_up_images(
    session: Session, store: InstanceStore, study_id: int, *, ended_before: datetime, now: datetime, why: str
) -> int:
    """Step 1. Returns how many objects go; 0: somebody needs the study again. Raises OSError if the disk fails."""
    study = take_ended(session, study_id, ended_before)
    if study is None:
        return 0
    instances = instances_with_files(session, study_id)
    keep_headers(session, store, study_id, instances)
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


def find_begun(session: Session) -> list[int]:
    """The studies, by id, of which files are still to go."""
    begun = select(Series.study_id).join(Instance).where(*is_to_go()).distinct()
    return list(session.exec(begun.order_by(col(Series.study_id))))


def remove_files(sessions: Sessions, store: InstanceStore, trail: AuditTrail, study_id: int) -> list[OSError]:
    """Steps 2 and 3, of a study. Returns why a file is still there, for each that is; the others are gone."""
    with sessions() as session:
        study = session.get_one(Study, study_id)
        of_study = select(Instance).join(Series).where(Series.study_id == study_id, *is_to_go())
        doomed = session.exec(of_study.order_by(col(Instance.id))).all()
    stuck = store.remove(instance.path for instance in doomed)
    gone = [instance for instance in doomed if instance.path not in stuck]
    if gone:
        trail.deleted(study.study_instance_uid, study.patient_id)  # before it is forgotten: rather twice than never
    for first in range(0, len(gone), _AT_ONCE):
        _forget(sessions, gone[first : first + _AT_ONCE])
    return list(stuck.values())


def is_to_go() -> tuple[ColumnElement[bool], ...]:
    """Of an instance: the rows count on its file no more, and it may still be there."""
    # A literal, not a parameter: or SQLite could not tell that the index of these few rows will do.
    return col(Instance.removed_at).is_not(None), col(Instance.path) != literal_column("''")


def _forget(sessions: Sessions, gone: Sequence[Instance]) -> None:
    with sessions.begin() as session:
        for each in gone:
            # Not where it came again meanwhile: the row names another file then.
            same = (col(Instance.id) == each.id, col(Instance.path) == each.path)
            session.execute(update(Instance).where(*same).values(path=""))
