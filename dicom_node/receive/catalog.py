"""What has been received, as rows: Study, Series, Instance."""

from datetime import datetime
from functools import cache
from typing import Any, cast

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import Executable, Table, bindparam, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, select

from dicom_node import lifecycle
from dicom_node.models import Instance, Series, Study
from dicom_node.receive.header import InstanceHeader
from dicom_node.states import StudyState
from dicom_node.storage import StoredFile

# What may hold a radiograph. Everything else that comes with a study is accepted and kept aside (PS3.4 B.5).
RADIOGRAPH_SOP_CLASSES = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    }
)

# One statement each for all objects, below the ORM: making and interpreting one costs more than running it.
_STUDY, _SERIES, _INSTANCE = (cast(Table, inspect(model).local_table) for model in (Study, Series, Instance))
_STUDY_ID = select(_STUDY.c.id).where(_STUDY.c.study_instance_uid == bindparam("uid")).with_for_update()
_SERIES_ID = select(_SERIES.c.id).where(
    _SERIES.c.study_id == bindparam("study"), _SERIES.c.series_instance_uid == bindparam("uid")
)
_INSTANCE_ID = select(_INSTANCE.c.id).where(
    _INSTANCE.c.sop_instance_uid == bindparam("uid"), _INSTANCE.c.sha256 == bindparam("sha256")
)


def register(session: Session, header: InstanceHeader, stored: StoredFile, *, calling_ae: str, now: datetime) -> int:
    """Write the rows of a stored object. The same bytes again change nothing; a late radiograph reopens its study.

    Returns the id of the instance's row.
    """
    study_id = _study_id(session, header.study_instance_uid, now)
    values = {
        "series_id": _series_id(session, study_id, header),
        "sop_class_uid": header.sop_class_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "sha256": stored.sha256,
        "path": stored.path,
        "calling_ae": calling_ae,
        "received_at": now,
        "patient_key": header.patient_key,
        "body_part": header.body_part,
        "view": header.view,
        "presentation_intent": header.presentation_intent,
        "manufacturer": header.manufacturer,
        "burned_in_annotation": header.burned_in_annotation,
        "has_pixels": header.has_pixels,
    }
    instance_id = _insert_unless_there(session, _INSTANCE, values)
    if instance_id is None:
        return _id(session, _INSTANCE_ID, uid=header.sop_instance_uid, sha256=stored.sha256)
    if header.sop_class_uid in RADIOGRAPH_SOP_CLASSES:
        _keep_open(session, session.get_one(Study, study_id), now)
    return instance_id


def registered_paths(session: Session) -> frozenset[str]:
    """The file of every row."""
    return frozenset(session.exec(select(Instance.path)).all())


def _study_id(session: Session, study_instance_uid: str, now: datetime) -> int:
    """The id of the study's row, which is locked, so that completeness and a late instance see each other."""
    study_id = _id_or_none(session, _STUDY_ID, uid=study_instance_uid)
    if study_id is not None:
        return study_id
    values = {
        "study_instance_uid": study_instance_uid,
        "state": StudyState.RECEIVING,
        "last_received_at": now,
        "created_at": now,
    }
    new_id = _insert_unless_there(session, _STUDY, values)
    if new_id is None:
        return _id(session, _STUDY_ID, uid=study_instance_uid)
    lifecycle.note_begin(session, session.get_one(Study, new_id), now, reason="first instance received")
    return new_id


def _series_id(session: Session, study_id: int, header: InstanceHeader) -> int:
    key: dict[str, str | int] = {"study": study_id, "uid": header.series_instance_uid}
    series_id = _id_or_none(session, _SERIES_ID, **key)
    if series_id is not None:
        return series_id
    values = {"study_id": study_id, "series_instance_uid": header.series_instance_uid, "modality": header.modality}
    return _insert_unless_there(session, _SERIES, values) or _id(session, _SERIES_ID, **key)


def _keep_open(session: Session, study: Study, now: datetime) -> None:
    if study.state == StudyState.COMPLETE:
        lifecycle.advance(session, study, StudyState.RECEIVING, now=now, reason="an image came late")
    study.last_received_at = now
    session.add(study)


def _insert_unless_there(session: Session, table: Table, values: dict[str, Any]) -> int | None:
    """Insert a row unless another association was first. Returns the new row's id."""
    # The row itself, not rowcount: on PostgreSQL that is -1 for an INSERT.
    connection = session.connection()
    return cast(int | None, connection.execute(_insert(connection.dialect.name, table), values).scalar())


@cache
def _insert(dialect: str, table: Table) -> Executable:
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    return cast(Executable, insert.on_conflict_do_nothing().returning(table.c.id))


def _id_or_none(session: Session, statement: Executable, **key: str | int) -> int | None:
    """The row's id; asked for once in a transaction, which may register many objects of one study."""
    known = session.info.setdefault((statement, *key.values()), [])
    if not known:
        known.extend(session.connection().execute(statement, key).scalars())
    return known[0] if known else None


def _id(session: Session, statement: Executable, **key: str | int) -> int:
    return cast(int, session.connection().execute(statement, key).scalar_one())
