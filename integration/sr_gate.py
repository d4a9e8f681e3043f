"""The last look at the report before it leaves: what is in the bytes, not what was meant to be."""

from collections.abc import Iterator

from integration.document import ReportDocument
from integration.object_gate import check_image, check_object, code_of, hierarchical, nodes, read_back, require_equal
from integration.report_text import check_lines
from integration.source_header import SourceHeader
from integration.sr_content import FINDING, SUMMARY, join_lines
from integration.sr_header import PARTIAL, SR_CLASSES
from integration.sr_identity import sr_sop_instance_uid

_PREDECESSOR = "PredecessorDocumentsSequence"


def check_sr(payload: bytes, document: ReportDocument) -> None:
    """Raises InvalidOutput, naming the attribute, unless the bytes say this draft about this patient and image."""
    report = read_back(payload)
    source = SourceHeader.of(document.evidence)
    stated = {
        "SOPClassUID": SR_CLASSES[document.sr_class],
        "SOPInstanceUID": sr_sop_instance_uid(document),
        "CompletionFlag": PARTIAL,
    }
    check_object(report, source, stated)
    _check_text(report, document)
    check_image(report, source)
    _check_predecessor(report, document)


def _check_text(report: SourceHeader, document: ReportDocument) -> None:
    """The opening is the first text of the first section, the one finding is the draft, and no check is lost."""
    sections = [item for item in report.items("ContentSequence") if item.text("ValueType") == "CONTAINER"]
    texts = [(code_of(item), item.text("TextValue")) for section in sections for item in _texts(section)]
    require_equal("ContentSequence, first text", texts[:1], [(SUMMARY.value, join_lines(document.opening))])
    checks = [text for name, text in texts[1:] if name == SUMMARY.value]
    require_equal("ContentSequence, checks", checks, list(check_lines(document.flags)))
    findings = [text for name, text in texts if name == FINDING.value]
    require_equal("ContentSequence, finding", findings, [join_lines(document.findings)])


def _check_predecessor(report: SourceHeader, document: ReportDocument) -> None:
    before = document.predecessor
    study = SourceHeader.of(document.evidence).text("StudyInstanceUID")
    expected = []
    if before and before.sop_instance_uid:
        expected = [(study, before.series_instance_uid, before.sop_class_uid, before.sop_instance_uid)]
    require_equal(_PREDECESSOR, hierarchical(report, _PREDECESSOR), expected)


def _texts(item: SourceHeader) -> Iterator[SourceHeader]:
    return (node for node in nodes(item) if node.text("ValueType") == "TEXT")
