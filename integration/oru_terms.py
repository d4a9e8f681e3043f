"""The codes of the ORU, its control IDs, and the order that it answers."""

from collections.abc import Mapping

from pydicom.sr.coding import Code

from dicom_node.peers import MllpDestination
from dicom_node.uids import derive_control_id
from integration.document import ReportDocument
from integration.order_numbers import OrderNumbers
from integration.source_header import SourceHeader
from integration.sr_identity import draft_key

DRAFT_STATUSES = ("P", "R")  # OBR-25, OBX-11; tables 0123, 0085: preliminary, or stored and not verified
UID_STATUS = "O"  # OBX-11 of rows that are no result: order detail description only
# Of a withdrawn draft. Not X, "order canceled": the order stands, and a RIS might take it off the reading list.
NO_RESULT = "I"  # OBR-25, table 0123: no results available, procedure incomplete
DELETED = "D"  # OBX-11, table 0085: deletes the OBX record
STUDY_INSTANCE_UID = Code("113014", "DCM", "DICOM Study")  # as dcm4chee's RAD-128 writes it
SR_SOP_INSTANCE_UID = Code("SR_UID", "L", "SR SOP Instance UID")  # local: no standard code was found
CANCELLED_MESSAGE = Code("MSG_ID", "L", "Message Control ID of the cancelled message")  # local
FINDINGS = Code("59776-5", "LN", "Procedure Findings")
WITHOUT_TQ1 = ("2.3.1", "2.4")  # MSH-12 of versions that have the priority in ORC-7 alone
WITHOUT_OBX_18 = ("2.3.1",)  # MSH-12
# MSH-15 and MSH-16, table 0155, by the acknowledgement that is asked for (HL7 2.5.1 2.9.2, 2.9.3)
CONDITIONS: Mapping[str, tuple[str, str]] = {"original": ("", ""), "accept": ("AL", "NE"), "application": ("AL", "AL")}


def msh_18(destination: MllpDestination) -> str:
    """ASCII is the set of a message that names none."""
    return "" if destination.character_set == "ASCII" else destination.character_set


def control_id(document: ReportDocument, destination: MllpDestination) -> str:
    """MSH-10 of the draft: the same on every resend, another for another draft or destination."""
    return derive_control_id("oru", *draft_key(document), destination.name)


def cancellation_id(document: ReportDocument, destination: MllpDestination) -> str:
    """MSH-10 of the message that cancels the draft."""
    return derive_control_id("cancellation", *draft_key(document), destination.name)


def read_order(document: ReportDocument) -> OrderNumbers:
    """The image's own attributes first, then its first request (PS3.3 10.6), then the HL7 order, if it is the same."""
    header = SourceHeader.of(document.evidence)
    sources = (header, *header.items("RequestAttributesSequence")[:1])

    def first(keyword: str) -> str:
        return next(filter(None, (source.text(keyword) for source in sources)), "")

    placer, filler = first("PlacerOrderNumberImagingServiceRequest"), first("FillerOrderNumberImagingServiceRequest")
    told = document.order
    if not told.names_study and not _is_same_order(placer, filler, told):
        # Of the same accession number: half of each would be neither.
        told = OrderNumbers(accession=told.accession, priority=told.priority)
    accession = first("AccessionNumber") or told.accession
    return OrderNumbers(
        placer=_entity(placer, told.placer),
        filler=_entity(filler, told.filler) or _entity(accession, ()),
        accession=accession,
        requested_procedure_id=first("RequestedProcedureID") or told.requested_procedure_id,
        scheduled_step_id=first("ScheduledProcedureStepID") or told.scheduled_step_id,
        procedure=told.procedure,
        priority=told.priority,
    )


def _is_same_order(placer: str, filler: str, told: OrderNumbers) -> bool:
    """placer, filler: as the image has them. What both have decides, the placer's number first."""
    pairs = ((placer, told.placer), (filler, told.filler))
    return next((number[0] == of_image for of_image, number in pairs if of_image and number), True)


def _entity(of_image: str, told: tuple[str, ...]) -> tuple[str, ...]:
    """An order number that the image has, with the namespace that the order has for the same number."""
    return told if not of_image or told[:1] == (of_image,) else (of_image,)
