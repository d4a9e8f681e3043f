"""The codes of the ORU, and the numbers of the order that it answers."""

from pydicom.sr.coding import Code

from integration.document import OrderNumbers, ReportDocument
from integration.source_header import SourceHeader

DRAFT_STATUSES = ("P", "R")  # OBR-25, OBX-11; tables 0123, 0085: preliminary, or stored and not verified
UID_STATUS = "O"  # OBX-11 of rows that are no result: order detail description only
STUDY_INSTANCE_UID = Code("113014", "DCM", "DICOM Study")  # as dcm4chee's RAD-128 writes it
SR_SOP_INSTANCE_UID = Code("SR_UID", "L", "SR SOP Instance UID")  # local: no standard code was found
FINDINGS = Code("59776-5", "LN", "Procedure Findings")


def read_order(document: ReportDocument) -> OrderNumbers:
    """The image's own attributes first, then its first request (PS3.3 10.6), then the HL7 order."""
    header = SourceHeader.of(document.evidence)
    sources = (header, *header.items("RequestAttributesSequence")[:1])
    told = document.order

    def first(keyword: str) -> str:
        return next(filter(None, (source.text(keyword) for source in sources)), "")

    accession = first("AccessionNumber") or told.accession
    return OrderNumbers(
        placer=_entity(first("PlacerOrderNumberImagingServiceRequest"), told.placer),
        filler=_entity(first("FillerOrderNumberImagingServiceRequest"), told.filler) or _entity(accession, ()),
        accession=accession,
        requested_procedure_id=first("RequestedProcedureID") or told.requested_procedure_id,
        scheduled_step_id=first("ScheduledProcedureStepID") or told.scheduled_step_id,
    )


def _entity(of_image: str, told: tuple[str, ...]) -> tuple[str, ...]:
    """An order number that the image has, with the namespace that the order has for the same number."""
    return told if not of_image or told[:1] == (of_image,) else (of_image,)
