"""What has been received, as rows: Study, Series, Instance."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, cast

import sqlalchemy
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import Executable, Table, bindparam, inspect, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, select

from dicom_node import lifecycle
from dicom_node.models import Instance, Series, Study
from dicom_node.receive.header import InstanceHeader, as_number
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
# The study, locked so that completeness and a late instance see each other; and the series, where it is there.
_PLACE = (
    sqlalchemy.select(_STUDY.c.id, _SERIES.c.id, _STUDY.c.state, _STUDY.c.images_removed_at)
    .outerjoin(_SERIES, (_SERIES.c.study_id == _STUDY.c.id) & (_SERIES.c.series_instance_uid == bindparam("series")))
    .where(_STUDY.c.study_instance_uid == bindparam("study"))
    .with_for_update(of=_STUDY)
)
_RENEW = update(_STUDY).where(_STUDY.c.id == bindparam("of")).values(last_received_at=bindparam("now"))
_VARIANTS = (
    sqlalchemy.select(
        _INSTANCE.c.id, _INSTANCE.c.path, _INSTANCE.c.size_bytes, _INSTANCE.c.sha256, _INSTANCE.c.removed_at
    )
    .where(_INSTANCE.c.sop_instance_uid == bindparam("uid"))
    .order_by(_INSTANCE.c.variant)
)
# Of a row whose file was gone. Not when it was received: the last film of a study is the one that is read.
_COMES_AGAIN = ("path", "size_bytes", "sha256", "transfer_syntax_uid")


@dataclass(frozen=True)
class Files:
    """What is asked of the stored files while a row is written."""

    sha256_of: Callable[[StoredFile], str]  # the digest of a data set, where its UID is here already; may raise OSError
    holds: Callable[[str], bool]  # whether the file of a row is there
    remove: Callable[[str], None]  # a file that no row counts on any more


@dataclass(frozen=True)
class Registered:
    """What became of a stored object."""

    instance_id: int
    study_id: int
    is_new: bool  # False: the same bytes were here before, and the row names their file


def register(
    session: Session,
    header: InstanceHeader,
    stored: StoredFile,
    *,
    calling_ae: str,
    now: datetime,
    files: Files,
) -> Registered:
    """Write the rows of a stored object. The same bytes again change nothing; a late radiograph reopens its study.

    Where the file of the same bytes is gone or damaged, this one takes its place: what is acknowledged is here.
    """
    study_id, series_id, state = _place(session, header, now)
    values = {
        "series_id": series_id,
        "sop_class_uid": header.sop_class_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "variant": 0,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "size_bytes": stored.size_bytes,
        "sha256": "",
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
    registered = _insert_variant(session, study_id, values, stored, files)
    if registered.is_new and header.sop_class_uid in RADIOGRAPH_SOP_CLASSES:
        _keep_open(session, session.get_one(Study, study_id), now)
    elif state == StudyState.COMPLETE:  # it reopens nothing, but is not removed either as if nobody had sent it
        session.connection().execute(_RENEW, {"of": study_id, "now": now})
    return registered


def _insert_variant(
    session: Session, study_id: int, values: dict[str, Any], stored: StoredFile, files: Files
) -> Registered:
    """Insert the instance beside those of its UID, unless one of them has the same bytes."""
    while (instance_id := _insert_unless_there(session, _INSTANCE, values)) is None:
        variants = session.connection().execute(_VARIANTS, {"uid": values["sop_instance_uid"]}).all()
        values["variant"], values["sha256"] = len(variants), files.sha256_of(stored)
        for variant in map(_Variant._make, variants):
            match variant.compare(values, files):
                case _Found.SAME:
                    return Registered(variant.id, study_id, is_new=False)
                case _Found.GONE:
                    variant.replace(session, values, files)
                    return Registered(variant.id, study_id, is_new=True)
    return Registered(instance_id, study_id, is_new=True)


class _Found(Enum):
    """What a row of the same UID is to an object that has come."""

    SAME = "the same bytes, on the disk"
    GONE = "the same bytes, whose file is gone or damaged"
    OTHER = "other bytes"


class _Variant(NamedTuple):
    """A row of the UID, as `_VARIANTS` reads it."""

    id: int
    path: str
    size_bytes: int
    sha256: str
    removed_at: datetime | None

    def compare(self, values: dict[str, Any], files: Files) -> _Found:
        """By the file, not by what the row says of it. Raises OSError where a file without a digest cannot be read."""
        if self.removed_at is not None or not files.holds(self.path):
            is_same = self.sha256 == values["sha256"]
            has_nothing_to_compare = not self.sha256 and self.size_bytes in (0, values["size_bytes"])
            return _Found.GONE if is_same or has_nothing_to_compare else _Found.OTHER
        try:
            digest = files.sha256_of(StoredFile(self.path, self.size_bytes))
        except OSError:
            if not self.sha256:
                raise
            digest = ""
        if digest == values["sha256"]:
            return _Found.SAME
        return _Found.GONE if self.sha256 == values["sha256"] else _Found.OTHER

    def replace(self, session: Session, values: dict[str, Any], files: Files) -> None:
        """The row names the new file. The old one goes, if it was on its way already."""
        again = {name: values[name] for name in _COMES_AGAIN} | {"removed_at": None}
        session.connection().execute(update(_INSTANCE).where(_INSTANCE.c.id == self.id).values(again))
        if self.removed_at is not None and self.path:
            files.remove(self.path)


def registered_paths(session: Session) -> frozenset[str]:
    """The file of every row."""
    return frozenset(session.exec(select(Instance.path)).all())


def _place(session: Session, header: InstanceHeader, now: datetime) -> tuple[int, int, str]:
    """The ids of study and series, and the study's state: looked up once in a transaction, which may register many
    objects of one series.
    """
    key = {"study": header.study_instance_uid, "series": header.series_instance_uid}
    known = session.info.setdefault(tuple(key.values()), [])
    if not known:
        known.extend(_place_now(session, header, key, now))
    return known[0], known[1], known[2]


def _place_now(session: Session, header: InstanceHeader, key: dict[str, str], now: datetime) -> tuple[int, int, str]:
    connection = session.connection()
    found = connection.execute(_PLACE, key).one_or_none()
    if found is None:
        _begin_study(session, header, now)
        found = connection.execute(_PLACE, key).one()
    study_id, series_id, state, images_removed_at = found
    if images_removed_at is not None:
        _note_return(session, session.get_one(Study, study_id), now)
    if series_id is None:
        values = {"study_id": study_id, "series_instance_uid": key["series"], "modality": header.modality}
        series_id = _insert_unless_there(session, _SERIES, values) or connection.execute(_PLACE, key).one()[1]
    return study_id, series_id, state


def _begin_study(session: Session, header: InstanceHeader, now: datetime) -> None:
    """The study, with what its first object says of order and patient: by that an order or a final report finds it."""
    values = {
        "study_instance_uid": header.study_instance_uid,
        "state": StudyState.RECEIVING,
        "accession_number": _ascii(header.accession_number),
        "patient_id": _ascii(header.patient_id),
        "issuer_of_patient_id": _ascii(header.issuer_of_patient_id),
        "last_received_at": now,
        "created_at": now,
    }
    new_id = _insert_unless_there(session, _STUDY, values)
    if new_id is not None:
        lifecycle.note_begin(session, session.get_one(Study, new_id), now, reason="first instance received")


def _note_return(session: Session, study: Study, now: datetime) -> None:
    study.images_removed_at = None
    session.add(study)
    lifecycle.note(session, study, now, "objects come after its images were removed")


def _ascii(number: str) -> str:
    """What needs a character set to be read is left to whoever drafts the image."""
    return as_number(number) if number.isascii() else ""


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
