"""The codes of the ORU and where the image keeps the order it answers."""

from dataclasses import dataclass

from pydicom.sr.coding import Code

from integration.source_header import SourceHeader

DRAFT_STATUSES = ("P", "R")  # OBR-25, OBX-11; tables 0123, 0085: preliminary, or stored and not verified
UID_STATUS = "O"  # OBX-11 of rows that are no result: order detail description only
STUDY_INSTANCE_UID = Code("113014", "DCM", "DICOM Study")  # as dcm4chee's RAD-128 writes it
SR_SOP_INSTANCE_UID = Code("SR_UID", "L", "SR SOP Instance UID")  # local: no standard code was found
FINDINGS = Code("59776-5", "LN", "Procedure Findings")


@dataclass(frozen=True)
class Order:
    """Identifiers of the order, from the image; empty where it has none."""

    placer: str  # (0040,2016)
    filler: str  # (0040,2017), else the accession number
    accession: str  # (0008,0050)
    requested_procedure_id: str  # (0040,1001)
    scheduled_step_id: str  # (0040,0009)


def read_order(header: SourceHeader) -> Order:
    """Read the image's own attributes first, then its first request (PS3.3 10.6)."""
    sources = (header, *header.items("RequestAttributesSequence")[:1])

    def first(keyword: str) -> str:
        return next(filter(None, (source.text(keyword) for source in sources)), "")

    accession = first("AccessionNumber")
    return Order(
        placer=first("PlacerOrderNumberImagingServiceRequest"),
        filler=first("FillerOrderNumberImagingServiceRequest") or accession,
        accession=accession,
        requested_procedure_id=first("RequestedProcedureID"),
        scheduled_step_id=first("ScheduledProcedureStepID"),
    )
