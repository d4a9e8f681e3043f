"""The last look at a rejection note before it leaves: this patient, this study, and exactly what was sent."""

from pydicom.uid import KeyObjectSelectionDocumentStorage

from integration.document import ReportDocument
from integration.object_gate import code_of, hierarchical, nodes, read_back, require_copied, require_equal
from integration.source_header import SourceHeader

_STATED = {"SOPClassUID": KeyObjectSelectionDocumentStorage, "Modality": "KO"}
_TITLE = "113037"  # DCM: Rejected for Patient Safety Reasons
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"


def check_rejection(payload: bytes, document: ReportDocument) -> None:
    """Raises InvalidOutput, naming the attribute, unless the bytes reject what this PACS was sent of this draft."""
    note, source = read_back(payload), SourceHeader.of(document.evidence)
    for keyword, value in _STATED.items():
        require_equal(keyword, note.text(keyword), value)
    require_copied(note, source)
    require_equal("ConceptNameCodeSequence", code_of(note), _TITLE)
    study = source.text("StudyInstanceUID")
    sent = {(study, each.series_instance_uid, each.sop_class_uid, each.sop_instance_uid) for each in document.sent}
    require_equal(_EVIDENCE, set(hierarchical(note, _EVIDENCE)), sent)
    named = {
        (item.text("ReferencedSOPClassUID"), item.text("ReferencedSOPInstanceUID"))
        for node in nodes(note)
        for item in node.items("ReferencedSOPSequence")
    }
    require_equal("ContentSequence", named, {(each.sop_class_uid, each.sop_instance_uid) for each in document.sent})
