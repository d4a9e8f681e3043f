"""Whatever is encoded has passed its gate: what the gate refuses is not sent."""

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest
from page_samples import PACS, draft
from pydicom.uid import BasicTextSRStorage
from report_samples import RIS

from dicom_node.errors import InvalidOutput
from dicom_node.states import WITHDRAWALS, DeliveryKind
from integration.history import SentObject
from integration.objects import encoder
from integration.oru import encode_oru
from integration.oru_cancellation import encode_cancellation
from workers.labelling.labeller import label

# The module of the encoder and its gate. Pixels cannot be read again, so the words of a page have one of their own.
GATES = [
    (DeliveryKind.SR, "structured_report", "check_sr"),
    (DeliveryKind.FINDINGS, "findings_report", "check_findings"),
    (DeliveryKind.PDF, "pdf_report", "check_pdf"),
    (DeliveryKind.PAGE, "page_capture", "check_words"),
    (DeliveryKind.PAGE, "page_capture", "check_capture"),
    (DeliveryKind.GSPS, "presentation_state", "check_presentation"),
    (DeliveryKind.ORU, "oru", "check_oru"),
    (DeliveryKind.REJECTION, "rejection_note", "check_rejection"),
    (DeliveryKind.CANCELLATION, "oru_cancellation", "check_cancellation"),
]


@pytest.mark.parametrize(("kind", "module", "gate"), GATES)
def test_what_the_gate_refuses_is_not_sent(
    kind: DeliveryKind, module: str, gate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_it(kind, tmp_path)
    monkeypatch.setattr(import_module(f"integration.{module}"), gate, refuse)
    with pytest.raises(InvalidOutput, match="stopped at the gate"):
        encode_it(kind, tmp_path)


def test_every_kind_has_a_gate() -> None:
    assert {kind for kind, _, _ in GATES} == set(DeliveryKind)


def encode_it(kind: DeliveryKind, folder: Path) -> None:
    withdrawn_at = datetime(2026, 8, 1, 14, tzinfo=UTC) if kind in WITHDRAWALS else None
    sent = (SentObject(BasicTextSRStorage, "1.2.3.1", "1.2.4.1"),)
    document = draft(folder, labels=label("No effusion."), withdrawn_at=withdrawn_at, sent=sent, rows_sent=1)
    if kind == DeliveryKind.ORU:
        encode_oru(document, RIS)
    elif kind == DeliveryKind.CANCELLATION:
        encode_cancellation(document, RIS)
    else:
        encoder(kind)(document, PACS)


def refuse(*_: object) -> NoReturn:
    raise InvalidOutput("stopped at the gate")
