"""The content tree of the draft: TID 2000 "Basic Diagnostic Imaging Report" (PS3.16)."""

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from integration import sr_item
from integration.document import ReportDocument
from integration.report_text import check_lines, split_lines
from integration.source_header import SourceHeader
from integration.sr_element import put, read_codes
from integration.sr_identity import model_device

TEMPLATE = "2000"
REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")  # CID 7000
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
SUMMARY = Code("55112-7", "LN", "Summary")  # CID 7001, and 7002 for its text
INDICATIONS = Code("18785-6", "LN", "Indications for Procedure")  # CID 7001
REQUEST = Code("55115-0", "LN", "Request")  # CID 7002
FINDINGS = Code("59776-5", "LN", "Findings")  # CID 7001
FINDING = Code("121071", "DCM", "Finding")  # CID 7002

_LINE_END = "\r\n"  # PS3.5 6.1.3


def describe_content(target: Dataset, document: ReportDocument) -> None:
    """Write the tree; the disclaimer, then what to check, is its first section. Source: PS3.16 TID 2000."""
    source = SourceHeader.of(document.evidence)
    items = [
        sr_item.language(),
        *procedures_reported(procedure_codes(source)),
        *sr_item.observer(model_device(document.model), document.node_name),
        *_sections(document, source),
    ]
    sr_item.describe_root(target, title=REPORT, template=TEMPLATE, items=items)


def join_lines(text: str) -> str:
    """The normalised text as a UT value: CR LF between lines."""
    return _LINE_END.join(split_lines(text))


def procedure_codes(source: SourceHeader) -> tuple[Code, ...]:
    """The imaging procedure: as performed, else as requested; empty if the image names none."""
    if performed := read_codes(source, "ProcedureCodeSequence"):
        return performed
    requests = (source, *source.items("RequestAttributesSequence"))
    return next(filter(None, (read_codes(each, "RequestedProcedureCodeSequence") for each in requests)), ())


def procedures_reported(codes: tuple[Code, ...]) -> list[Dataset]:
    return [sr_item.code(PROCEDURE_REPORTED, code, relationship=sr_item.MODIFIER) for code in codes]


def _sections(document: ReportDocument, source: SourceHeader) -> list[Dataset]:
    finding = sr_item.text(FINDING, join_lines(document.findings))
    put(finding, "ContentSequence", [sr_item.image(source, relationship=sr_item.INFERRED)])
    summary = (join_lines(document.opening), *check_lines(document.flags))
    sections = [sr_item.container(SUMMARY, [sr_item.text(SUMMARY, each) for each in summary])]
    if indication := join_lines(document.indication):
        sections.append(sr_item.container(INDICATIONS, [sr_item.text(REQUEST, indication)]))
    return [*sections, sr_item.container(FINDINGS, [finding])]
