"""Stable identifiers of what this node writes: a retry carries the same ones, a new draft a new one."""

from dataclasses import dataclass
from datetime import UTC

from pydicom.uid import UID

from dicom_node.labels import Labeller, Labels
from dicom_node.product import MANUFACTURER
from dicom_node.uids import derive_uid
from integration.document import ModelIdentity, ReportDocument
from integration.source_header import SourceHeader

_PRODUCT, _FINDINGS = "sr", "findings"


@dataclass(frozen=True)
class Device:
    """Software that had a part in an object: as equipment, author and observer it says the same (IHE AIR 6.5.3.1)."""

    uid: UID
    model_name: str
    version: str
    digest: str
    contribution: str  # what it did, in words


def sr_sop_instance_uid(document: ReportDocument) -> UID:
    """One per draft and SOP class; the ORU names it too."""
    product = _PRODUCT if document.sr_class == "basic" else f"{_PRODUCT} {document.sr_class}"
    return derive_uid(product, *draft_key(document))


def findings_sop_instance_uid(document: ReportDocument, labels: Labels) -> UID:
    """One per draft and labeller."""
    return derive_uid(_FINDINGS, *draft_key(document), labels.labeller.digest)


def draft_key(document: ReportDocument) -> tuple[str, ...]:
    """What tells one draft from every other, also from one of another node or of a database that was lost since."""
    image = SourceHeader.of(document.evidence).require("SOPInstanceUID")
    drafted_at = document.drafted_at.astimezone(UTC).isoformat()
    return (document.node_name, _study_uid(document), image, document.model.digest, str(document.revision), drafted_at)


def sr_series_instance_uid(document: ReportDocument) -> UID:
    """One per study: all drafts of a study lie in one series, those of a synthetic model in another."""
    return _series_uid(document, _PRODUCT)


def findings_series_instance_uid(document: ReportDocument) -> UID:
    """As `sr_series_instance_uid`."""
    return _series_uid(document, _FINDINGS)


def model_device_uid(model: ModelIdentity) -> UID:
    """Other weights, prompt or settings are another device (IHE AIR 6.5.3.1)."""
    return derive_uid(MANUFACTURER, "model", model.digest)


def model_device(model: ModelIdentity) -> Device:
    return Device(
        model_device_uid(model), model.name, model.version, model.digest, "Drafted the findings from the image"
    )


def labeller_device(model: ModelIdentity, labeller: Labeller) -> Device:
    """A labeller that reads this model's drafts: another of either is another device."""
    uid = derive_uid(MANUFACTURER, "labeller", model.digest, labeller.digest)
    did = "Read coded findings from the drafted text"
    return Device(uid, labeller.name, labeller.version, labeller.digest, did)


def node_device_uid(node_name: str) -> UID:
    return derive_uid(MANUFACTURER, "node", node_name)


def _series_uid(document: ReportDocument, product: str) -> UID:
    return derive_uid(_study_uid(document), product, "synthetic" if document.model.is_synthetic else "series")


def _study_uid(document: ReportDocument) -> str:
    return SourceHeader.of(document.evidence).require("StudyInstanceUID")
