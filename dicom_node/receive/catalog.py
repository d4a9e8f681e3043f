"""What has been received, as rows: Study, Series, Instance."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple, cast

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import Connection, Table, bindparam, inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import sessionmaker
from sqlalchemy.sql.dml import ReturningInsert
from sqlmodel import Session

from dicom_node import lifecycle
from dicom_node.models import Instance, Series, Study
from dicom_node.prepared import Prepared
from dicom_node.pull.comparison import take_for_reading
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

_STUDY, _SERIES, _INSTANCE = (cast(Table, inspect(model).local_table) for model in (Study, Series, Instance))


def _insert(table: Table, dialect: str) -> ReturningInsert[int]:
    """Insert a row unless another association was first."""
    insert: postgresql.Insert | sqlite.Insert
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    # The row itself, not rowcount: on PostgreSQL that is -1 for an INSERT.
    return insert.on_conflict_do_nothing().returning(table.c.id)


# What is run for every object, and for every new study and series.
# The study, locked so that completeness and a late instance see each other; and the series, where it is there.
_PLACE = Prepared(
    lambda _: (
        select(_STUDY.c.id, _SERIES.c.id, _STUDY.c.state, _STUDY.c.images_removed_at)
        .outerjoin(
            _SERIES, (_SERIES.c.study_id == _STUDY.c.id) & (_SERIES.c.series_instance_uid == bindparam("series"))
        )
        .where(_STUDY.c.study_instance_uid == bindparam("study"))
        .with_for_update(of=_STUDY)
    )
)
_ADD_STUDY = Prepared(lambda dialect: _insert(_STUDY, dialect))
_ADD_SERIES = Prepared(lambda dialect: _insert(_SERIES, dialect))
_ADD_INSTANCE = Prepared(lambda dialect: _insert(_INSTANCE, dialect))
_RENEW = Prepared(
    lambda _: update(_STUDY).where(_STUDY.c.id == bindparam("of")).values(last_received_at=bindparam("now"))
)
# Of a row whose file was gone. Not when it was received: the last film of a study is the one that is read.
_COMES_AGAIN = ("path", "size_bytes", "sha256", "transfer_syntax_uid")


@dataclass(frozen=True)
class Files:
    """What is asked of the stored files while a row is written."""

    sha256_of: Callable[[StoredFile], str]  # the digest of a data set, where its UID is here already; may raise OSError
    holds: Callable[[str], bool]  # whether the file of a row is there
    remove: Callable[[int, str], None]  # of an instance, by id: a file that its row counts on no more


@dataclass(frozen=True)
class Registered:
    """What became of a stored object."""

    instance_id: int
    study_id: int
    is_new: bool  # False: the same bytes were here before, and the row names their file


class Catalog:
    """Writes the rows of stored objects in one transaction. Study and series are looked up once in it."""

    def __init__(self, connection: Connection, files: Files) -> None:
        self._connection = connection
        self._files = files
        self._places: dict[tuple[str, str], _Place] = {}

    def register(self, header: InstanceHeader, stored: StoredFile, *, calling_ae: str, now: datetime) -> Registered:
        """Write what there is to know of an object.

        The same bytes again change nothing; a late radiograph reopens its study, and either one that was here only to
        be compared with. Where the file of the same bytes is gone or damaged, this one takes its place: what is
        acknowledged is here.
        """
        place = self._place(header, now)
        registered = self._add(place, _values(header, stored, place.series_id, calling_ae, now), stored)
        is_late = place.state == StudyState.COMPLETE
        is_radiograph = header.sop_class_uid in RADIOGRAPH_SOP_CLASSES
        is_image = registered.is_new and is_radiograph
        if is_radiograph and (is_late or not registered.is_new):
            self._take_for_reading(place.study_id, now)
        if is_late and is_image:
            self._reopen(place.study_id, now)
        if is_late or is_image:  # what reopens nothing keeps the study, too, from being removed as if nobody sent it
            _RENEW.run(self._connection, {"of": place.study_id, "now": now})
        return registered

    def _add(self, place: "_Place", values: dict[str, Any], stored: StoredFile) -> Registered:
        """Insert the instance beside those of its UID, unless one of them has the same bytes."""
        while not (new := _ADD_INSTANCE.run(self._connection, values)):
            variants = self._connection.execute(_VARIANTS, {"uid": values["sop_instance_uid"]}).all()
            values["variant"], values["sha256"] = len(variants), self._files.sha256_of(stored)
            for variant in map(_Variant._make, variants):
                match variant.compare(values, self._files):
                    case _Found.SAME:
                        return Registered(variant.id, place.study_id, is_new=False)
                    case _Found.GONE:
                        variant.replace(self._connection, values, self._files)
                        return Registered(variant.id, place.study_id, is_new=True)
        return Registered(new[0][0], place.study_id, is_new=True)

    def _place(self, header: InstanceHeader, now: datetime) -> "_Place":
        key = header.study_instance_uid, header.series_instance_uid
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._find_place(header, now)
        return place

    def _find_place(self, header: InstanceHeader, now: datetime) -> "_Place":
        """Where the object belongs, made where it is not there yet."""
        key = {"study": header.study_instance_uid, "series": header.series_instance_uid}
        found = _PLACE.run(self._connection, key) or self._begin_study(header, now) or _PLACE.run(self._connection, key)
        study_id, series_id, state, images_removed_at = found[0]
        if images_removed_at is not None:
            self._note_return(study_id, now)
        if series_id is None:
            series = {"study_id": study_id, "series_instance_uid": key["series"], "modality": header.modality}
            new = _ADD_SERIES.run(self._connection, series)
            series_id = new[0][0] if new else _PLACE.run(self._connection, key)[0][1]
        return _Place(study_id, series_id, state)

    def _begin_study(self, header: InstanceHeader, now: datetime) -> Sequence[tuple[Any, ...]]:
        """With what its first object says of order and patient: by that an order or a final report finds it.

        Returns what `_PLACE` would; nothing if another association was first.
        """
        values = {
            "study_instance_uid": header.study_instance_uid,
            "state": StudyState.RECEIVING.value,
            "accession_number": _ascii(header.accession_number),
            "patient_id": _ascii(header.patient_id),
            "issuer_of_patient_id": _ascii(header.issuer_of_patient_id),
            "patient_name_folded": "",
            "last_received_at": now,
            "created_at": now,
        }
        new = _ADD_STUDY.run(self._connection, values)
        if not new:
            return ()
        study_id, state = new[0][0], StudyState.RECEIVING
        reason = "first instance received"
        lifecycle.note_begin(self._connection, Study, row_id=study_id, state=state, now=now, reason=reason)
        return [(study_id, None, state.value, None)]

    def _note_return(self, study_id: int, now: datetime) -> None:
        with self._moving() as session:
            study = session.get_one(Study, study_id)
            study.images_removed_at = None
            lifecycle.note(session, study, now, "objects come after its images were removed")

    def _take_for_reading(self, study_id: int, now: datetime) -> None:
        """What came as the prior of another, and comes again: it was sent for itself."""
        with self._moving() as session:
            if take_for_reading(session, study_id):
                study, words = session.get_one(Study, study_id), "it was sent for itself: it is no longer a prior alone"
                if study.state == StudyState.COMPLETE:
                    lifecycle.advance(session, study, StudyState.RECEIVING, now=now, reason=words)
                else:
                    lifecycle.note(session, study, now, words)

    def _reopen(self, study_id: int, now: datetime) -> None:
        with self._moving() as session:
            study = session.get_one(Study, study_id)
            if study.state == StudyState.COMPLETE:  # another object of this transaction may have reopened it
                lifecycle.advance(session, study, StudyState.RECEIVING, now=now, reason="an image came late")

    def _moving(self) -> AbstractContextManager[Session]:
        """A session that takes part in the transaction."""
        return sessionmaker(self._connection, class_=Session).begin()


class _Place(NamedTuple):
    """Where an object belongs."""

    study_id: int
    series_id: int
    state: str  # of the study, when the transaction first saw it


def _values(
    header: InstanceHeader, stored: StoredFile, series_id: int, calling_ae: str, now: datetime
) -> dict[str, Any]:
    """The instance's row."""
    return columns_of(header) | {
        "series_id": series_id,
        "variant": 0,
        "size_bytes": stored.size_bytes,
        "sha256": "",
        "path": stored.path,
        "calling_ae": calling_ae,
        "received_at": now,
    }


def columns_of(header: InstanceHeader) -> dict[str, Any]:
    """What the instance's row has of its header."""
    return {
        "sop_class_uid": header.sop_class_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "patient_key": header.patient_key,
        "body_part": header.body_part,
        "view": header.view,
        "presentation_intent": header.presentation_intent,
        "manufacturer": header.manufacturer,
        "burned_in_annotation": header.burned_in_annotation,
        "has_pixels": header.has_pixels,
    }


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
    series_id: int
    patient_key: str

    def compare(self, values: dict[str, Any], files: Files) -> _Found:
        """By the file, not by what the row says of it. Raises OSError where a file without a digest cannot be read."""
        if self.removed_at is not None or not files.holds(self.path):
            is_same = self.sha256 == values["sha256"]
            # Without a digest by its size, and never into another's row: what was corrected may be as long.
            is_here = (self.series_id, self.patient_key) == (values["series_id"], values["patient_key"])
            has_nothing_to_compare = is_here and not self.sha256 and self.size_bytes in (0, values["size_bytes"])
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

    def replace(self, connection: Connection, values: dict[str, Any], files: Files) -> None:
        """The row names the new file. The old one goes, if it was on its way already."""
        again = {name: values[name] for name in _COMES_AGAIN} | {"removed_at": None}
        connection.execute(update(_INSTANCE).where(_INSTANCE.c.id == self.id).values(again))
        if self.removed_at is not None and self.path:
            files.remove(self.id, self.path)


_VARIANTS = (
    select(*(_INSTANCE.c[name] for name in _Variant._fields))
    .where(_INSTANCE.c.sop_instance_uid == bindparam("uid"))
    .order_by(_INSTANCE.c.variant)
)


def registered_paths(session: Session) -> frozenset[str]:
    """The file of every row."""
    return frozenset(session.connection().execute(select(_INSTANCE.c.path)).scalars())


def _ascii(number: str) -> str:
    """What needs a character set to be read is left to whoever drafts the image."""
    return as_number(number) if number.isascii() else ""
