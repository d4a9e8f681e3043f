"""What has been received, as rows: Study, Series, Instance."""

from datetime import datetime
from typing import Any, cast

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel, select

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


def find_instance(session: Session, sop_instance_uid: str, sha256: str) -> Instance | None:
    """The row of exactly these bytes, if they came before."""
    statement = select(Instance).where(Instance.sop_instance_uid == sop_instance_uid, Instance.sha256 == sha256)
    return session.exec(statement).first()


def register(
    session: Session, header: InstanceHeader, stored: StoredFile, *, calling_ae: str, now: datetime
) -> Instance:
    """Write the rows of a stored object. The same bytes again change nothing; a late radiograph reopens its study."""
    study = _study(session, header.study_instance_uid, now)
    series_id = _series_id(session, study, header)
    values = {
        "series_id": series_id,
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
    is_new = _insert_unless_there(session, Instance, values)
    if is_new and header.sop_class_uid in RADIOGRAPH_SOP_CLASSES:
        _keep_open(session, study, now)
    return cast(Instance, find_instance(session, header.sop_instance_uid, stored.sha256))


def registered_paths(session: Session) -> frozenset[str]:
    """The file of every row."""
    return frozenset(session.exec(select(Instance.path)).all())


def _study(session: Session, study_instance_uid: str, now: datetime) -> Study:
    """The row of the study, locked, so that completeness and a late instance see each other."""
    wanted = select(Study).where(Study.study_instance_uid == study_instance_uid).with_for_update()
    found = session.exec(wanted).first()
    if found is not None:
        return found
    values = {
        "study_instance_uid": study_instance_uid,
        "state": StudyState.RECEIVING,
        "last_received_at": now,
        "created_at": now,
    }
    is_new = _insert_unless_there(session, Study, values)
    study = session.exec(wanted).one()
    if is_new:
        lifecycle.note_begin(session, study, now, reason="first instance received")
    return study


def _series_id(session: Session, study: Study, header: InstanceHeader) -> int:
    values = {
        "study_id": study.id,
        "series_instance_uid": header.series_instance_uid,
        "modality": header.modality,
    }
    _insert_unless_there(session, Series, values)
    wanted = select(Series.id).where(
        Series.study_id == study.id, Series.series_instance_uid == header.series_instance_uid
    )
    return cast(int, session.exec(wanted).one())


def _keep_open(session: Session, study: Study, now: datetime) -> None:
    if study.state == StudyState.COMPLETE:
        lifecycle.advance(session, study, StudyState.RECEIVING, now=now, reason="an image came late")
    study.last_received_at = now
    session.add(study)


def _insert_unless_there(session: Session, model: type[SQLModel], values: dict[str, Any]) -> bool:
    """Insert a row unless another association was first; True if it was inserted."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(model).values(**values).on_conflict_do_nothing()
    # The row itself, not rowcount: on PostgreSQL that is -1 for an INSERT.
    return session.execute(insert.returning(inspect(model).primary_key[0])).first() is not None
