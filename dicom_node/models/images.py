"""What was received: studies, series, instances, and what a modality says of its step."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import BigInteger, Column, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime
from dicom_node.states import StudyState

_TO_REMOVE = "removed_at IS NOT NULL AND path <> ''"  # of an instance: its file is still to go


class StepStatus(StrEnum):
    """Performed Procedure Step Status (0040,0252), PS3.3 C.4.14"""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class Study(SQLModel, table=True):
    """One DICOM study (PS3.3 A.1.2) as far as it has come."""

    __tablename__: ClassVar[str] = "study"
    __table_args__ = (
        Index("study_open", "state", "last_received_at"),
        Index(
            "study_with_images",
            "state",
            "last_received_at",
            sqlite_where=text("images_removed_at IS NULL"),
            postgresql_where=text("images_removed_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(unique=True, max_length=64)
    state: str = StudyState.RECEIVING
    last_received_at: datetime = Field(sa_type=UtcDateTime, index=True)
    # Whoever sent it ended the association that it came on: by releasing it, or by breaking it off.
    released_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    broken_off_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # What an image says, so that orders, final reports and merges find it; empty until one was looked at.
    accession_number: str = Field(default="", index=True)  # (0008,0050)
    patient_id: str = Field(default="", index=True)  # (0010,0020)
    issuer_of_patient_id: str = ""  # (0010,0021)
    # (0010,0010), to look for: as it stands, and as `demographics.fold` writes it. None: not read yet.
    patient_name: str | None = Field(default=None, index=True)
    patient_name_folded: str = ""
    images_removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # None: it has some, or again
    created_at: datetime = Field(sa_type=UtcDateTime)


class Series(SQLModel, table=True):
    __tablename__: ClassVar[str] = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id", index=True)
    series_instance_uid: str = Field(max_length=64)
    modality: str = ""  # (0008,0060)


class Instance(SQLModel, table=True):
    """One received object. The same UID with other bytes is a second row: nothing received is thrown away."""

    __tablename__: ClassVar[str] = "instance"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "variant"),
        Index("instance_without_digest", "id", sqlite_where=text("sha256 = ''"), postgresql_where=text("sha256 = ''")),
        Index("instance_to_remove", "id", sqlite_where=text(_TO_REMOVE), postgresql_where=text(_TO_REMOVE)),
    )

    id: int | None = Field(default=None, primary_key=True)
    series_id: int = Field(foreign_key="series.id", index=True)
    sop_class_uid: str = Field(max_length=64)
    sop_instance_uid: str = Field(max_length=64)
    variant: int = 0  # other bytes under the same UID are 1, 2, …
    transfer_syntax_uid: str = Field(max_length=64)
    size_bytes: int = Field(default=0, sa_type=BigInteger)  # of the data set as received
    sha256: str = Field(default="", max_length=64)  # of the same; made when nothing is received, empty until then
    path: str  # below Settings.instances_dir; empty: the file was removed
    calling_ae: str
    received_at: datetime = Field(sa_type=UtcDateTime)
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # from then on its file is gone, or goes
    # What selection looks at: the header's words, empty where it is silent.
    patient_key: str = ""  # hash of (0010,0020) and its issuer: equal or not is all selection needs
    body_part: str = ""  # (0018,0015), or the meaning of (0008,2218)
    view: str = ""  # (0018,5101), or the meaning of (0054,0220)
    presentation_intent: str = ""  # (0008,0068)
    manufacturer: str = ""  # (0008,0070)
    burned_in_annotation: str = ""  # (0028,0301)
    has_pixels: bool = False  # (7FE0,0010) is there
    # The file up to its pixels, once it was removed: of a drafted image, whose draft may have to be withdrawn.
    header: bytes | None = Field(default=None, sa_column=Column(LargeBinary))


class PerformedStep(SQLModel, table=True):
    """A Modality Performed Procedure Step (PS3.4 F.7) in one study; grouped procedures make a row for each study."""

    __tablename__: ClassVar[str] = "performed_step"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "study_instance_uid"),)

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str = Field(max_length=64)
    study_instance_uid: str = Field(max_length=64, index=True)  # of a study that may have no image yet
    status: str = StepStatus.IN_PROGRESS
    instances: str = "{}"  # JSON of what it made: SOP Class UID by SOP Instance UID
    created_at: datetime = Field(sa_type=UtcDateTime)


class Declaration(SQLModel, table=True):
    """Somebody said that a study is complete, as soon as an instance is here; a row for each instance that was named.

    Rows of one study and one reason belong together. They are deleted when the study was closed and nothing is missing.
    """

    __tablename__: ClassVar[str] = "declaration"

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(max_length=64, index=True)  # of a study that may have no image yet
    reason: str  # who said so, in words for the timeline
    sop_instance_uid: str | None = Field(default=None, max_length=64)  # None: no instance was named
    created_at: datetime = Field(sa_type=UtcDateTime)
