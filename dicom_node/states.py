"""The lifecycle as data: which states there are and which moves are allowed. Nothing here acts."""

from collections.abc import Mapping
from enum import StrEnum


class StudyState(StrEnum):
    RECEIVING = "receiving"  # instances may still come
    COMPLETE = "complete"  # quiet long enough; a job exists


class JobState(StrEnum):
    QUEUED = "queued"  # waits for a worker, from due_at on
    INFERRING = "inferring"  # a worker holds the lease
    REPORTED = "reported"  # the draft is stored; deliveries exist
    SKIPPED = "skipped"  # an answer with a named reason, not an error
    FAILED = "failed"  # a person is needed
    DONE = "done"  # every destination said so


class DeliveryState(StrEnum):
    PENDING = "pending"  # due at due_at
    SENDING = "sending"  # a relay holds the lease
    DELIVERED = "delivered"  # the peer acknowledged
    COMMITTED = "committed"  # the peer took over the responsibility for it (PS3.4 J)
    FAILED = "failed"  # refused, or attempts used up
    CANCELLED = "cancelled"  # not sent, or not again: nobody wants it any more


class DeliveryKind(StrEnum):
    """What a delivery holds."""

    SR = "sr"  # the draft as a DICOM SR, TID 2000
    FINDINGS = "findings"  # coded findings for machines: Comprehensive 3D SR, TID 1500
    PDF = "pdf"  # Encapsulated PDF
    PAGE = "page"  # Secondary Capture: the film and the draft
    GSPS = "gsps"  # presentation state: the draft over the film
    ORU = "oru"  # HL7 ORU^R01 by MLLP
    REJECTION = "rejection"  # Key Object Selection: what was sent before is not to be used
    CANCELLATION = "cancellation"  # HL7 ORU^R01 that withdraws the one before


# What tells of a withdrawal; all other kinds hold a draft.
WITHDRAWALS = (DeliveryKind.REJECTION, DeliveryKind.CANCELLATION)
# What goes to a RIS: one at a time.
MESSAGES = (DeliveryKind.ORU, DeliveryKind.CANCELLATION)


class CommitmentState(StrEnum):
    PENDING = "pending"  # the result is due at due_at
    SENDING = "sending"  # an scp holds the lease: it looks at the files, then sends what it found
    DELIVERED = "delivered"  # whoever asked has the result, good or bad
    FAILED = "failed"  # refused, nowhere to send it, or attempts used up


class PullState(StrEnum):
    PENDING = "pending"  # due at due_at
    PULLING = "pulling"  # a process holds the lease
    DONE = "done"  # the source sent all that it has
    FAILED = "failed"  # refused, or attempts used up


State = StudyState | JobState | DeliveryState | CommitmentState | PullState

STUDY_MOVES: Mapping[State, frozenset[State]] = {
    StudyState.RECEIVING: frozenset({StudyState.COMPLETE}),
    StudyState.COMPLETE: frozenset({StudyState.RECEIVING}),
}

JOB_MOVES: Mapping[State, frozenset[State]] = {
    JobState.QUEUED: frozenset({JobState.INFERRING, JobState.SKIPPED}),  # skipped unread: an operator withdrew it
    JobState.INFERRING: frozenset({JobState.REPORTED, JobState.SKIPPED, JobState.QUEUED, JobState.FAILED}),
    JobState.REPORTED: frozenset({JobState.DONE, JobState.FAILED}),
    JobState.SKIPPED: frozenset({JobState.QUEUED}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.REPORTED}),
    JobState.DONE: frozenset({JobState.REPORTED}),  # withdrawn: who has it is told
}

DELIVERY_MOVES: Mapping[State, frozenset[State]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.CANCELLED}),
    DeliveryState.SENDING: frozenset(
        {DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.CANCELLED}
    ),
    DeliveryState.FAILED: frozenset({DeliveryState.PENDING, DeliveryState.CANCELLED}),
    # Not committed, or not in time: the same bytes again, until the attempts are used up.
    DeliveryState.DELIVERED: frozenset({DeliveryState.COMMITTED, DeliveryState.PENDING, DeliveryState.FAILED}),
    DeliveryState.COMMITTED: frozenset({DeliveryState.PENDING}),  # its peer has lost it all the same
    DeliveryState.CANCELLED: frozenset(),
}

COMMITMENT_MOVES: Mapping[State, frozenset[State]] = {
    CommitmentState.PENDING: frozenset({CommitmentState.SENDING}),
    CommitmentState.SENDING: frozenset({CommitmentState.DELIVERED, CommitmentState.PENDING, CommitmentState.FAILED}),
    CommitmentState.FAILED: frozenset({CommitmentState.PENDING}),
    CommitmentState.DELIVERED: frozenset({CommitmentState.PENDING}),
}

PULL_MOVES: Mapping[State, frozenset[State]] = {
    PullState.PENDING: frozenset({PullState.PULLING}),
    PullState.PULLING: frozenset({PullState.DONE, PullState.PENDING, PullState.FAILED}),
    PullState.DONE: frozenset({PullState.PENDING}),  # the study has grown, or an operator asked
    PullState.FAILED: frozenset({PullState.PENDING}),
}

# Why a job is skipped when nothing new is to be drafted: the study stands where its earlier revision stands.
UNCHANGED = "a draft was made from the same image already"
# Why nothing more of a study, or of one of its drafts, is sent.
CLOSED = "the RIS has the final report"
NOT_TOLD_FINAL = "was not told: it has the final report"  # after the name of a RIS
SUPERSEDED = "a newer draft of the study took its place"
WITHDRAWN = "the draft was withdrawn"
# How the reason ends of a job that is done and was to be told to nobody.
KEPT_HERE = "the draft is kept here"

# Not ended yet.
ACTIVE_JOB_STATES = (JobState.QUEUED, JobState.INFERRING, JobState.REPORTED)
# A study has at most one job in one of these; the database holds it by a partial unique index.
DRAFTING_JOB_STATES = (JobState.QUEUED, JobState.INFERRING)
