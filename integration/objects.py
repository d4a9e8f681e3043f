"""What a PACS can be sent of a draft. A new kind of object is one more line here."""

import pkgutil
from collections.abc import Callable, Mapping
from typing import cast

from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration.destinations import Encoded
from integration.document import ReportDocument

Encode = Callable[[ReportDocument, DicomDestination], Encoded]

# By name: what draws pages takes half a second and 30 MB, and most sites send none.
ENCODERS: Mapping[DeliveryKind, str] = {
    DeliveryKind.SR: "integration.structured_report:encode_sr",
    DeliveryKind.FINDINGS: "integration.findings_report:encode_findings",
    DeliveryKind.PDF: "integration.pdf_report:encode_pdf",
    DeliveryKind.PAGE: "integration.page_capture:encode_capture",
    DeliveryKind.GSPS: "integration.presentation_state:encode_presentation",
    DeliveryKind.REJECTION: "integration.rejection_note:encode_rejection",
}


def encoder(kind: DeliveryKind) -> Encode:
    """Encodes for one destination and passes the object's own gate; raises InvalidOutput."""
    return cast(Encode, pkgutil.resolve_name(ENCODERS[kind]))
