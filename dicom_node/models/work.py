"""What is done with a study: jobs, drafts, deliveries, pulls, and every change of a state."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import Column, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime
from dicom_node.states import (
    DRAFTING_JOB_STATES,
    CommitmentState,
    DeliveryKind,
    DeliveryState,
    JobState,
    PullState,
)


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
    decision: str | None = None  # JSON of `rules.verdict.Decision`; None: the rules were not asked
    reason: str = ""  # why it was skipped, failed or waits, in words
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # when a person acknowledged that it failed
    seen_by: str = ""  # who did last
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
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # when the peer last said that it has it
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # when a person acknowledged that it failed
    created_at: datetime = Field(sa_type=UtcDateTime)

    @property
    def name(self) -> str:
        """The destination, and what it is sent unless that is the report."""
        is_report = self.kind in (DeliveryKind.SR, DeliveryKind.ORU)
        return self.destination if is_report else f"{self.destination} {self.kind}"


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

    MOST_ATTEMPTS: ClassVar[int] = 10  # at having one study sent; while the source is away, none is made

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
    instance_count: int = 0  # when it was found; 0: the source does not say
    state: str = PullState.PENDING
    priority: int = 5
    attempts: int = 0
    due_at: datetime = Field(sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reason: str = ""
    created_at: datetime = Field(sa_type=UtcDateTime)


class Transition(SQLModel, table=True):
    """The timeline: every change of a state, when and why, in words."""

    __tablename__: ClassVar[str] = "transition"
    __table_args__ = (Index("transition_row", "row_id", "row_kind"),)

    id: int | None = Field(default=None, primary_key=True)
    row_kind: str  # study, job, delivery, commitment or pull
    row_id: int
    old: str  # empty when the row was made
    new: str
    at: datetime = Field(sa_type=UtcDateTime, index=True)
    reason: str = ""
