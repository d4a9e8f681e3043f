"""The tables. A row is the domain type; its state changes only through `lifecycle`."""

from dicom_node.models.agreement import Agreement, FindingAgreement
from dicom_node.models.images import Declaration, Instance, PerformedStep, Series, StepStatus, Study
from dicom_node.models.people import Access, Login, User
from dicom_node.models.ris import FinalReport, InboundMessage, Order, PatientMerge
from dicom_node.models.times import UtcDateTime
from dicom_node.models.watching import Heartbeat, Notice, Shipped
from dicom_node.models.work import Commitment, Delivery, Job, Pull, Report, Transition

__all__ = [
    "Access",
    "Agreement",
    "Commitment",
    "Declaration",
    "Delivery",
    "FinalReport",
    "FindingAgreement",
    "Heartbeat",
    "InboundMessage",
    "Instance",
    "Job",
    "Login",
    "Notice",
    "Order",
    "PatientMerge",
    "PerformedStep",
    "Pull",
    "Report",
    "Series",
    "Shipped",
    "StepStatus",
    "Study",
    "Transition",
    "User",
    "UtcDateTime",
]
