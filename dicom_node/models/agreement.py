"""How a draft compares with what was signed: numbers and labels. Neither text is here, and no patient."""

from datetime import datetime
from typing import ClassVar

from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime


class Agreement(SQLModel, table=True):
    """The newest draft of a study beside its newest final report. Compared anew, it is a new row."""

    __tablename__: ClassVar[str] = "agreement"
    # An id never comes back: counters and pages know by it that something is new.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(foreign_key="study.id", unique=True)
    report_id: int = Field(foreign_key="report.id", unique=True)  # which also says by what it was drafted
    final_report_id: int = Field(foreign_key="final_report.id")
    rules_digest: str = Field(max_length=64)  # sha256 over what cut and labelled both texts
    rouge_l: float  # 0 to 1, of the findings
    compared_at: datetime = Field(sa_type=UtcDateTime)


class FindingAgreement(SQLModel, table=True):
    """What both say of one finding that at least one of them says is there."""

    __tablename__: ClassVar[str] = "finding_agreement"

    id: int | None = Field(default=None, primary_key=True)
    agreement_id: int = Field(foreign_key="agreement.id", index=True)
    finding: str  # Code Meaning, as in coded findings: Pleural effusion
    outcome: str  # agreement.outcome.Outcome
    draft: str  # labels.Presence; empty: it does not speak of it
    draft_side: str  # labels.Laterality
    final: str
    final_side: str
