"""Where reports go: what a destination is, and what its answer means."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dicom_node.states import DeliveryKind
from integration.document import ReportDocument

NOT_SENT = "not sent"  # Ack.code: the attempt ended before anything went out


class Outcome(StrEnum):
    DELIVERED = "delivered"  # the peer said that it has it
    RETRY = "retry"  # the same bytes may be taken later
    REJECTED = "rejected"  # the peer will never take these bytes: a person is needed
    CANCELLED = "cancelled"  # not sent: nobody wants it any more


@dataclass(frozen=True)
class Ack:
    """The answer of a peer, or what its silence means."""

    outcome: Outcome
    code: str  # DIMSE status as four hex digits, MSA-1, NOT_SENT, or empty when there was no answer
    reason: str  # one sentence for the timeline; never patient data


@dataclass(frozen=True)
class Encoded:
    """A report as bytes that passed its gate, and the identifier it carries on every resend."""

    payload: bytes
    identifier: str  # SOP Instance UID or MSH-10


class Destination(Protocol):
    """A place that takes reports. `encode` is pure: equal documents give equal bytes."""

    name: str
    kind: DeliveryKind
    timeout_s: float  # longest wait for one answer

    def encode(self, document: ReportDocument) -> Encoded:
        """Encode and gate. Raises InvalidOutput, and then nothing is ever sent."""
        ...

    def send(self, payload: bytes) -> Ack:
        """Send once and judge the answer. Network trouble is an Ack with RETRY, never an exception."""
        ...
