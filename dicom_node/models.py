"""The tables. A row is the domain type; its state changes only through `lifecycle`."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Index, LargeBinary, TypeDecorator, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from dicom_node.states import DRAFTING_JOB_STATES, CommitmentState, DeliveryState, JobState, PullState, StudyState


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


class StepStatus(StrEnum):
    """Performed Procedure Step Status (0040,0252), PS3.3 C.4.14"""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class Study(SQLModel, table=True):
    """One DICOM study (PS3.3 A.1.2) as far as it has come."""

    __tablename__: ClassVar[str] = "study"
    __table_args__ = (Index("study_open", "state", "last_received_at"),)

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
    )

    id: int | None = Field(default=None, primary_key=True)
    series_id: int = Field(foreign_key="series.id", index=True)
    sop_class_uid: str = Field(max_length=64)
    sop_instance_uid: str = Field(max_length=64)
    variant: int = 0  # other bytes under the same UID are 1, 2, …
    transfer_syntax_uid: str = Field(max_length=64)
    size_bytes: int = Field(default=0, sa_type=BigInteger)  # of the data set as received
    sha256: str = Field(default="", max_length=64)  # of the same; made when nothing is received, empty until then
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


class Job(SQLModel, table=True):
    """One attempt-counted wish to draft one state of a study. QUEUED rows are the outbox of completion."""

    __tablename__: ClassVar[str] = "job"
    __table_args__ = (
        UniqueConstraint("study_id", "revision"),
        Index(
            "one_drafting_job_per_study",
            "study_id",
            unique=True,
            sqlite_where=text("state IN ({})".format(", ".join(f"'{s}'" for s in DRAFTING_JOB_STATES))),
            postgresql_where=text("state IN ({})".format(", ".join(f"'{s}'" for s in DRAFTING_JOB_STATES))),
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
    """A draft: the text, what it was drafted from and by what. Never deleted, never changed except to be withdrawn."""

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
    # What a labeller found in the text, as JSON of `labels.labels_to_json`; empty where none was asked.
    labels: str = ""
    # Where the model looked: an 8-bit grey PNG, one map under the other, one for each sentence of the findings.
    attention: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    withdrawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    withdrawal_reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)


class Delivery(SQLModel, table=True):
    """One report for one destination. PENDING rows are the outbox of drafting."""

    __tablename__: ClassVar[str] = "delivery"
    __table_args__ = (
        UniqueConstraint("report_id", "destination", "kind"),
        Index("delivery_due", "state", "due_at"),
        Index("delivery_to_commit", "wants_commitment", "state", "due_at"),
    )

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
    ack_code: str = ""  # DIMSE status as four hex digits, MSA-1, or `destinations.NOT_SENT`
    has_gone_out: bool = False  # in an earlier attempt: whatever a later one is answered, the peer may have it
    wants_commitment: bool = False  # ends as COMMITTED, not as DELIVERED
    transaction_uid: str = Field(default="", max_length=64, index=True)  # of the newest request for commitment
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)


class Commitment(SQLModel, table=True):
    """A request for storage commitment (PS3.4 J.3.2). PENDING rows are the outbox of its results."""

    __tablename__: ClassVar[str] = "commitment"
    __table_args__ = (UniqueConstraint("calling_ae", "transaction_uid"), Index("commitment_due", "state", "due_at"))

    id: int | None = Field(default=None, primary_key=True)
    transaction_uid: str = Field(max_length=64)
    calling_ae: str
    requestor: str  # address and port that the request came from: they name its association while that is open
    requested: str  # JSON of `commitment.references_to_json`
    failures: str = "[]"  # JSON of `commitment_result.failures_to_json`: what was found wanting, as told last
    state: str = CommitmentState.PENDING
    priority: int = 5
    attempts: int = 0
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str = ""  # what was told, or why it could not be, in words
    created_at: datetime = Field(sa_type=UtcDateTime)


class Pull(SQLModel, table=True):
    """A study that a source was or will be asked for: a named one, or the newest prior of one that is here."""

    __tablename__: ClassVar[str] = "pull"
    __table_args__ = (
        UniqueConstraint("source", "prior_of"),
        Index(
            "one_pull_of_a_named_study",
            "source",
            "study_instance_uid",
            unique=True,
            sqlite_where=text("prior_of IS NULL"),
            postgresql_where=text("prior_of IS NULL"),
        ),
        Index("pull_due", "state", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    source: str  # its name in the settings
    study_instance_uid: str = Field(default="", max_length=64, index=True)  # of a prior: empty until it is found
    prior_of: int | None = Field(default=None, foreign_key="study.id")
    for_comparison: bool = False  # the study comes as a prior and was not here before: it is never drafted
    instance_count: int = 0  # (0020,1208) when it was found; 0: the source does not say
    state: str = PullState.PENDING
    priority: int = 5
    attempts: int = 0
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)


class InboundMessage(SQLModel, table=True):
    """An HL7 message as it came, committed before it was acknowledged together with what it changed."""

    __tablename__: ClassVar[str] = "inbound_message"
    __table_args__ = (UniqueConstraint("sending_application", "sending_facility", "control_id", "sha256"),)

    id: int | None = Field(default=None, primary_key=True)
    sending_application: str  # MSH-3
    sending_facility: str  # MSH-4
    control_id: str  # MSH-10
    message_type: str  # MSH-9: ORM^O01
    raw: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    sha256: str = Field(max_length=64)
    is_used: bool  # False: kept, and nothing came of it
    reason: str  # what came of it, in words
    received_at: datetime = Field(sa_type=UtcDateTime)


class Order(SQLModel, table=True):
    """An imaging order as the RIS last told it."""

    __tablename__: ClassVar[str] = "imaging_order"

    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="inbound_message.id")  # the last that changed it
    accession_number: str = Field(default="", index=True)
    study_instance_uid: str = Field(default="", max_length=64, index=True)
    placer_order_number: str = Field(default="", index=True)  # EI as HL7 writes it: PLC1^RIS
    filler_order_number: str = Field(default="", index=True)  # EI
    requested_procedure_id: str = ""
    scheduled_step_id: str = ""
    procedure_code: str = ""  # OBR-4.1
    procedure_text: str = ""  # OBR-4.2
    procedure_scheme: str = ""  # OBR-4.3: the coding system
    reason_for_study: str = ""
    priority: int = 5  # 0 is the most urgent
    patient_identifiers: str = "[]"  # JSON of `patients.identifiers_to_json`
    is_cancelled: bool = False
    updated_at: datetime = Field(sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)


class FinalReport(SQLModel, table=True):
    """What a radiologist reported at last: it closes the case, and drafts are compared with it."""

    __tablename__: ClassVar[str] = "final_report"

    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="inbound_message.id")
    accession_number: str = Field(default="", index=True)
    study_instance_uid: str = Field(default="", max_length=64, index=True)
    placer_order_number: str = ""  # EI
    filler_order_number: str = ""  # EI
    patient_identifiers: str = "[]"  # JSON of `patients.identifiers_to_json`
    status: str  # OBR-25: F final, C corrected
    findings: str = ""  # what its OBX-3 calls findings
    impression: str = ""
    text: str  # all of it
    created_at: datetime = Field(sa_type=UtcDateTime)


class PatientMerge(SQLModel, table=True):
    """Two identifiers of one person (ADT^A40): those before are read as those that survive."""

    __tablename__: ClassVar[str] = "patient_merge"

    id: int | None = Field(default=None, primary_key=True)
    message_id: int = Field(foreign_key="inbound_message.id")
    prior_id: str = Field(index=True)  # MRG-1.1
    surviving_id: str = Field(index=True)  # PID-3.1
    identifiers: str  # JSON of `patients.identifiers_to_json`: both, with who assigned them
    created_at: datetime = Field(sa_type=UtcDateTime)


class Access(StrEnum):
    """What a person may do on the page. Each may do what those before it may."""

    VIEWER = "viewer"  # look
    OPERATOR = "operator"  # retry, withdraw
    ADMIN = "admin"  # say who may come in


class User(SQLModel, table=True):
    """A person who may use the page."""

    __tablename__: ClassVar[str] = "page_user"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True, max_length=64)  # as `users.checked_name` writes it
    access: str  # Access
    password_hash: str  # Argon2id, in the PHC string format
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(sa_type=UtcDateTime)


class Login(SQLModel, table=True):
    """A browser that a person has logged in with."""

    __tablename__: ClassVar[str] = "page_login"

    id: int | None = Field(default=None, primary_key=True)
    token_sha256: str = Field(unique=True, max_length=64)  # of the cookie: who reads the table cannot use it
    user_id: int = Field(foreign_key="page_user.id", index=True)
    seen_at: datetime = Field(sa_type=UtcDateTime)  # when the person last did something
    created_at: datetime = Field(sa_type=UtcDateTime)


class Heartbeat(SQLModel, table=True):
    """How a role of a host last was; deleted when it ends in good order."""

    __tablename__: ClassVar[str] = "heartbeat"

    role: str = Field(primary_key=True)
    host: str = Field(primary_key=True)  # two processes of a role on one host count as one
    well_at: datetime = Field(sa_type=UtcDateTime)  # stands still while there is a fault
    fault: str = ""  # in words


class Transition(SQLModel, table=True):
    """The timeline: every change of a state, when and why, in words."""

    __tablename__: ClassVar[str] = "transition"
    __table_args__ = (Index("transition_row", "row_kind", "row_id"),)

    id: int | None = Field(default=None, primary_key=True)
    row_kind: str  # study, job, delivery, commitment or pull
    row_id: int
    old: str  # empty when the row was made
    new: str
    at: datetime = Field(sa_type=UtcDateTime)
    reason: str = ""
