"""The tables. A row is the domain type; its state changes only through `lifecycle`."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import Column, DateTime, Dialect, Index, LargeBinary, TypeDecorator, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from dicom_node.states import ACTIVE_JOB_STATES, DeliveryState, JobState, StudyState


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in, aware UTC out, on every database. SQLite forgets zones; a naive value is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime, expected an aware one")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DeliveryKind(StrEnum):
    SR = "sr"  # DICOM Basic Text SR by C-STORE
    ORU = "oru"  # HL7 ORU^R01 by MLLP


class Study(SQLModel, table=True):
    """One DICOM study (PS3.3 A.1.2) as far as it has come."""

    __tablename__: ClassVar[str] = "study"

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(unique=True, max_length=64)
    state: str = StudyState.RECEIVING
    last_received_at: datetime = Field(sa_type=UtcDateTime, index=True)
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
    __table_args__ = (UniqueConstraint("sop_instance_uid", "sha256"),)

    id: int | None = Field(default=None, primary_key=True)
    series_id: int = Field(foreign_key="series.id", index=True)
    sop_class_uid: str = Field(max_length=64)
    sop_instance_uid: str = Field(max_length=64)
    transfer_syntax_uid: str = Field(max_length=64)
    sha256: str = Field(max_length=64)  # of the data set as received
    path: str  # below Settings.instances_dir
    calling_ae: str
    received_at: datetime = Field(sa_type=UtcDateTime)
    # What selection looks at: the header's words, empty where it is silent.
    patient_key: str = ""  # hash of (0010,0020) and its issuer: equal or not is all selection needs
    body_part: str = ""  # (0018,0015), or the meaning of (0008,2218)
    view: str = ""  # (0018,5101), or the meaning of (0054,0220)
    presentation_intent: str = ""  # (0008,0068)
    manufacturer: str = ""  # (0008,0070)
    burned_in_annotation: str = ""  # (0028,0301)
    has_pixels: bool = False  # (7FE0,0010) is there


class Job(SQLModel, table=True):
    """One attempt-counted wish to draft one state of a study. QUEUED rows are the outbox of completion."""

    __tablename__: ClassVar[str] = "job"
    __table_args__ = (
        UniqueConstraint("study_id", "revision"),
        Index(
            "one_active_job_per_study",
            "study_id",
            unique=True,
            sqlite_where=text("state IN ({})".format(", ".join(f"'{s}'" for s in ACTIVE_JOB_STATES))),
            postgresql_where=text("state IN ({})".format(", ".join(f"'{s}'" for s in ACTIVE_JOB_STATES))),
        ),
        Index("job_due", "state", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id")
    revision: int = 1
    state: str = JobState.QUEUED
    priority: int = 5  # 0 is the most urgent
    attempts: int = 0
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    rung_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # when the broker last heard of it
    reason: str = ""  # why it was skipped, failed or waits, in words
    created_at: datetime = Field(sa_type=UtcDateTime)


class Report(SQLModel, table=True):
    """A draft: the text, what it was drafted from and by what. Never changed, never deleted."""

    __tablename__: ClassVar[str] = "report"

    id: int | None = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="job.id", unique=True)
    instance_id: int = Field(foreign_key="instance.id")
    findings: str
    flags: str = "[]"  # JSON of `flags.flags_to_json`: what a reader should be warned of
    indication: str = ""
    model_name: str
    model_version: str
    model_digest: str = Field(max_length=64)  # sha256 over the weights and what shapes the text
    model_is_synthetic: bool = False  # for tests alone: whatever shows the draft says so first
    token_count: int
    cropped_fraction: float  # share of the image that the model did not see
    seconds: float
    created_at: datetime = Field(sa_type=UtcDateTime)


class Delivery(SQLModel, table=True):
    """One report for one destination. PENDING rows are the outbox of drafting."""

    __tablename__: ClassVar[str] = "delivery"
    __table_args__ = (UniqueConstraint("report_id", "destination", "kind"), Index("delivery_due", "state", "due_at"))

    id: int | None = Field(default=None, primary_key=True)
    report_id: int = Field(foreign_key="report.id", index=True)
    kind: str  # DeliveryKind
    destination: str  # its name in the settings
    state: str = DeliveryState.PENDING
    priority: int = 5
    attempts: int = 0
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    payload: bytes | None = Field(default=None, sa_column=Column(LargeBinary))  # encoded once, resent as it is
    identifier: str = ""  # SOP Instance UID or MSH-10
    ack_code: str = ""  # DIMSE status as four hex digits, or MSA-1
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)


class Transition(SQLModel, table=True):
    """The timeline: every change of a state, when and why, in words."""

    __tablename__: ClassVar[str] = "transition"
    __table_args__ = (Index("transition_row", "row_kind", "row_id"),)

    id: int | None = Field(default=None, primary_key=True)
    row_kind: str  # study, job or delivery
    row_id: int
    old: str  # empty when the row was made
    new: str
    at: datetime = Field(sa_type=UtcDateTime)
    reason: str = ""
