"""The content tree of the coded findings: TID 1500 "Measurement Report" (PS3.16), as IHE AIR 6.5.3 asks.

The groups are highdicom's (TID 1501, TID 4019). Its report is not used: it wants an image whose header is whole, has no
place for Qualitative Evaluations, and knows no image of a SOP class that it does not know.
"""

from collections.abc import Mapping

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.labels import Label, Labels, Laterality, Presence
from dicom_node.uids import derive_uid
from integration import sr_item
from integration.document import ReportDocument
from integration.report_text import check_lines
from integration.source_header import SourceHeader
from integration.sr_content import FINDING, join_lines, procedure_codes, procedures_reported
from integration.sr_element import make_item, put
from integration.sr_header import image_reference
from integration.sr_identity import findings_sop_instance_uid, labeller_device

TEMPLATE = "1500"
REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021
CHEST_IMAGING = Code("413815006", "SCT", "Chest imaging")  # where the image names no procedure: TID 1500 wants one
LIBRARY = Code("111028", "DCM", "Image Library")  # TID 1600
LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500, row 12
COMMENT = Code("121106", "DCM", "Comment")
CHEST = Code("816094009", "SCT", "Chest")  # CID 4
PRESENCES: Mapping[Presence, Code] = {  # CID 240
    Presence.PRESENT: Code("52101004", "SCT", "Present"),
    Presence.ABSENT: Code("272519000", "SCT", "Absent"),
    Presence.UNDETERMINED: Code("373068000", "SCT", "Undetermined"),
}
LATERALITIES: Mapping[Laterality, Code] = {  # CID 244
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.BILATERAL: Code("51440002", "SCT", "Bilateral"),
}


def describe_findings(target: Dataset, document: ReportDocument, labels: Labels) -> None:
    """Write the tree: a group for each label, then the words that they were read from. Source: PS3.16 TID 1500."""
    source = SourceHeader.of(document.evidence)
    items = [
        sr_item.language(),
        *sr_item.observer(labeller_device(document.model, labels.labeller), document.node_name),
        *procedures_reported(procedure_codes(source) or (CHEST_IMAGING,)),
        _library(source),
        sr_item.container(MEASUREMENTS, _groups(document, source, labels)),
        sr_item.container(EVALUATIONS, _words(document)),
    ]
    sr_item.describe_root(target, title=REPORT, template=TEMPLATE, items=items)


def _library(source: SourceHeader) -> Dataset:
    """Source: PS3.16 TID 1600, TID 1601: an image here has no name."""
    image = make_item(
        RelationshipType=sr_item.CONTAINS, ValueType="IMAGE", ReferencedSOPSequence=[image_reference(source)]
    )
    return sr_item.container(LIBRARY, [sr_item.container(LIBRARY_GROUP, [image])])


def _groups(document: ReportDocument, source: SourceHeader, labels: Labels) -> list[Dataset]:
    report = findings_sop_instance_uid(document, labels)
    algorithm = AlgorithmIdentification(name=labels.labeller.name, version=labels.labeller.version)
    return [
        _group(
            label,
            algorithm,
            tracking=TrackingIdentifier(uid=derive_uid(report, str(number)), identifier=f"AI finding {number}"),
            image=sr_item.image(source, relationship=sr_item.CONTAINS),
        )
        for number, label in enumerate(labels.labels, 1)
    ]


def _group(
    label: Label, algorithm: AlgorithmIdentification, *, tracking: TrackingIdentifier, image: Dataset
) -> Dataset:
    """Source: PS3.16 TID 1501. The image is ours: highdicom's item would warn of its UIDs, and name them."""
    (group,) = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        finding_type=label.finding,
        algorithm_id=algorithm,
        finding_sites=[FindingSite(CHEST, laterality=LATERALITIES.get(label.laterality))],
        qualitative_evaluations=[QualitativeEvaluation(label.finding, PRESENCES[label.presence])],
    )
    put(group, "ContentSequence", [*group.ContentSequence, image])
    return group


def _words(document: ReportDocument) -> list[Dataset]:
    """The disclaimer and what to check, then the draft."""
    comments = (join_lines(document.opening), *check_lines(document.flags))
    return [
        *(sr_item.text(COMMENT, each) for each in comments),
        sr_item.text(FINDING, join_lines(document.findings)),
    ]
