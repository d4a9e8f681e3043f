"""What the RIS said: messages, and the orders, final reports and merges in them."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import Column, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from dicom_node.models.times import UtcDateTime


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
