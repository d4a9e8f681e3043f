"""Stand-ins that tests hand in where the house takes an argument."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from dicom_node.states import DeliveryKind
from integration.destinations import Ack, Encoded, Outcome
from integration.document import ReportDocument
from workers.llavarad.findings import EngineIdentity, Findings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DELIVERED = Ack(Outcome.DELIVERED, "0000", "stored")
RETRY = Ack(Outcome.RETRY, "A700", "the peer is full")
REJECTED = Ack(Outcome.REJECTED, "A900", "the peer refused it")
IDENTITY = EngineIdentity("fake", "1", "d" * 64, is_synthetic=False)
FINDINGS = Findings("The lungs are clear.", token_count=6, seconds=0.5, cropped_fraction=0.0625)


class FrozenClock:
    """A clock that stands still until it is put forward."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass
class FakeWriter:
    """A `Writer` that gives the same findings each time, or raises; `before` is called in the middle of its work."""

    findings: Findings = FINDINGS
    error: Exception | None = None
    before: Callable[[], object] = lambda: None
    identity: EngineIdentity = IDENTITY
    images: list[NDArray[np.uint8]] = field(default_factory=list)

    def write_findings(self, pixels: NDArray[np.uint8], indication: str | None) -> Findings:
        self.images.append(pixels)
        self.before()
        if self.error is not None:
            raise self.error
        return self.findings


@dataclass
class FakeDestination:
    """A `Destination` that answers one ack after the other, the last one for ever; each encoding is a new one."""

    name: str = "pacs"
    kind: DeliveryKind = DeliveryKind.SR
    timeout_s: float = 1.0
    acks: Sequence[Ack] = (DELIVERED,)
    encode_error: Exception | None = None
    send_error: Exception | None = None
    before: Callable[[], object] = lambda: None  # called in the middle of sending
    documents: list[ReportDocument] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)

    def encode(self, document: ReportDocument) -> Encoded:
        self.documents.append(document)
        if self.encode_error is not None:
            raise self.encode_error
        number = len(self.documents)
        return Encoded(f"payload {number}".encode(), f"1.2.{number}")

    def send(self, payload: bytes) -> Ack:
        self.sent.append(payload)
        self.before()
        if self.send_error is not None:
            raise self.send_error
        return self.acks[min(len(self.sent), len(self.acks)) - 1]


class FakeBroker:
    """Hears bells while it is up."""

    def __init__(self) -> None:
        self.is_up = True
        self.heard: list[tuple[int, int]] = []
        self.lying = 0

    def ring(self, job_id: int, priority: int) -> bool:
        if self.is_up:
            self.heard.append((job_id, priority))
            self.lying += 1
        return self.is_up

    def unheard(self) -> int:
        return self.lying
