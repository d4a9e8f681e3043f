"""Comparisons of drafts with signed reports, as rows."""

from collections.abc import Mapping
from datetime import datetime
from itertools import count
from typing import Any

from doubles import NOON
from pydicom.sr.coding import Code
from rows import add_job, add_report
from sqlmodel import Session

from dicom_node.agreement.outcome import agreement_on
from dicom_node.labels import Label, Laterality, Presence
from dicom_node.models import Agreement, FinalReport, InboundMessage, Job, Report

Said = tuple[str, str, str, str]  # presence and side in the draft, presence and side in the signed report
_numbers = count(1)
_IN_WORDS = {"present": "There is", "absent": "There is no", "undetermined": "There may be", "": ""}


def add_agreement(
    session: Session,
    findings: Mapping[str, Said],
    *,
    rouge_l: float = 0.5,
    drafted_at: datetime = NOON,
    model: str = "fake",
    is_withdrawn: bool = False,
) -> Agreement:
    """A study with a draft and a final report, and their comparison."""
    report = add_report(session, add_job(session, state="done"))
    report.created_at, report.model_name = drafted_at, model
    report.withdrawn_at = drafted_at if is_withdrawn else None
    return compared(session, report, findings, rouge_l)


def compared(session: Session, report: Report, findings: Mapping[str, Said], rouge_l: float = 0.5) -> Agreement:
    """The comparison of a draft that is there with a final report of these findings."""
    signed = " ".join(f"{_IN_WORDS[said[2]]} {name}." for name, said in findings.items())
    final = add_final(session, signed)
    row = Agreement(
        study_id=session.get_one(Job, report.job_id).study_id, report_id=report.id, final_report_id=final.id,
        rules_digest="e" * 64, rouge_l=rouge_l, compared_at=NOON,
    )  # fmt: skip
    session.add(row)
    session.flush()
    for name, (draft, draft_side, said, side) in findings.items():
        labels = _label(name, draft, draft_side), _label(name, said, side)
        session.add(agreement_on(name, *labels, agreement_id=row.id or 0))
    session.flush()
    return row


def add_final(session: Session, text: str, **columns: Any) -> FinalReport:
    """As the RIS told it."""
    message = InboundMessage(
        sending_application="RIS", sending_facility="HOSP", control_id=f"F{next(_numbers)}", message_type="ORU^R01",
        raw=b"", sha256="f" * 64, is_used=True, reason="a final report", received_at=NOON,
    )  # fmt: skip
    session.add(message)
    session.flush()
    final = FinalReport(message_id=message.id, **{"status": "F", "text": text, "created_at": NOON, **columns})
    session.add(final)
    session.flush()
    return final


def _label(name: str, presence: str, side: str) -> Label | None:
    return Label(Code("1", "99TEST", name), Presence(presence), Laterality(side), "") if presence else None
