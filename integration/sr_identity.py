"""Stable identifiers of what this node writes: a retry carries the same ones, a new draft a new one."""

from datetime import UTC

from pydicom.uid import UID

from dicom_node.product import MANUFACTURER
from dicom_node.uids import derive_uid
from integration.document import ModelIdentity, ReportDocument
from integration.source_header import SourceHeader

_PRODUCT = "sr"


def sr_sop_instance_uid(document: ReportDocument) -> UID:
    """One per draft; the ORU names it too."""
    return derive_uid(_PRODUCT, *draft_key(document))


def draft_key(document: ReportDocument) -> tuple[str, ...]:
    """What tells one draft from every other, also from one of another node or of a database that was lost since."""
    image = SourceHeader.of(document.evidence).require("SOPInstanceUID")
    drafted_at = document.drafted_at.astimezone(UTC).isoformat()
    return (document.node_name, _study_uid(document), image, document.model.digest, str(document.revision), drafted_at)


def sr_series_instance_uid(document: ReportDocument) -> UID:
    """One per study: all drafts of a study lie in one series, those of a synthetic model in another."""
    return derive_uid(_study_uid(document), _PRODUCT, "synthetic" if document.model.is_synthetic else "series")


def model_device_uid(model: ModelIdentity) -> UID:
    """Other weights, prompt or settings are another device (IHE AIR 6.5.3.1)."""
    return derive_uid(MANUFACTURER, "model", model.digest)


def node_device_uid(node_name: str) -> UID:
    return derive_uid(MANUFACTURER, "node", node_name)


def _study_uid(document: ReportDocument) -> str:
    return SourceHeader.of(document.evidence).require("StudyInstanceUID")
