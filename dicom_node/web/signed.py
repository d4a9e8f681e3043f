"""What the page shows of a study's comparison: both texts, and what each says of the findings."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from dicom_node.agreement.outcome import Outcome, conclusion, in_words
from dicom_node.models import Agreement, FinalReport, FindingAgreement, Report, Study
from dicom_node.orders import finals_of


@dataclass(frozen=True)
class Line:
    """One finding, in words."""

    finding: str
    draft: str
    signed: str
    conclusion: str
    is_agreed: bool


@dataclass(frozen=True)
class Signed:
    """The signed report beside the draft."""

    draft: Report
    final: FinalReport
    rouge_l: float
    lines: Sequence[Line]  # those that differ first
    has_later: bool  # the RIS has sent a later report, as a document or just now


def read_signed(session: Session, study: Study) -> Signed | None:
    """None where the two were not compared, or not yet."""
    agreement = session.exec(select(Agreement).where(Agreement.study_id == study.id)).one_or_none()
    if agreement is None:
        return None
    ours = select(FindingAgreement).where(FindingAgreement.agreement_id == agreement.id)
    lines = sorted(map(_line, session.exec(ours.order_by(col(FindingAgreement.id)))), key=lambda line: line.is_agreed)
    draft, final = session.get_one(Report, agreement.report_id), session.get_one(FinalReport, agreement.final_report_id)
    has_later = any(each.created_at > final.created_at for each in finals_of(session, study))
    return Signed(draft, final, agreement.rouge_l, lines, has_later)


def _line(row: FindingAgreement) -> Line:
    said = in_words(row.draft, row.draft_side), in_words(row.final, row.final_side)
    return Line(row.finding, *said, conclusion(row), row.outcome == Outcome.AGREED)
