"""The last look at an SR before it leaves: what is in the bytes, not what was meant to be."""

from collections.abc import Iterator
from io import BytesIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.errors import InvalidOutput
from integration.document import ReportDocument
from integration.report_text import check_lines
from integration.source_header import SourceHeader
from integration.sr_content import FINDING, SUMMARY, join_lines
from integration.sr_header import (
    COPIED_IF_PRESENT,
    COPIED_OR_EMPTY,
    PARTIAL,
    PRELIMINARY,
    RESEARCH,
    SOP_CLASS_UID,
    UNVERIFIED,
    fitting,
)
from integration.sr_identity import sr_sop_instance_uid

_STATED = {  # standards §5.3: the safety invariants
    "SOPClassUID": SOP_CLASS_UID,
    "Modality": "SR",
    "CompletionFlag": PARTIAL,
    "VerificationFlag": UNVERIFIED,
    "PreliminaryFlag": PRELIMINARY,
    "ContentQualification": RESEARCH,
}
_PERSONS = ("VerifyingObserverSequence", "ParticipantSequence")
_COPIED = ("StudyInstanceUID", *COPIED_OR_EMPTY, *COPIED_IF_PRESENT)


def check_sr(payload: bytes, document: ReportDocument) -> None:
    """Raises InvalidOutput, naming the attribute, unless the bytes say this draft about this patient and image."""
    try:
        report = SourceHeader.of(dcmread(BytesIO(payload)))
    except InvalidDicomError as error:
        raise InvalidOutput("SR gate: payload is not a DICOM file") from error
    source = SourceHeader.of(document.evidence)
    for keyword, value in _STATED.items():
        _equal(keyword, report.text(keyword), value)
    for keyword in _COPIED:
        _equal(keyword, report.text(keyword), fitting(source, keyword))
    _equal("SOPInstanceUID", report.text("SOPInstanceUID"), sr_sop_instance_uid(document))
    for keyword in _PERSONS:
        _equal(keyword, str(keyword in report.dataset), str(False))
    _check_author(report)
    _check_text(report, document)
    _check_image(report, source)


def _check_author(report: SourceHeader) -> None:
    types = [author.text("ObserverType") for author in report.items("AuthorObserverSequence")]
    _equal("AuthorObserverSequence", types, ["DEV"])


def _check_text(report: SourceHeader, document: ReportDocument) -> None:
    """The opening is the first text of the first section, the one finding is the draft, and no check is lost."""
    sections = [item for item in report.items("ContentSequence") if item.text("ValueType") == "CONTAINER"]
    texts = [(_name(item), item.text("TextValue")) for section in sections for item in _texts(section)]
    _equal("ContentSequence, first text", texts[:1], [(SUMMARY.value, join_lines(document.opening))])
    checks = [text for name, text in texts[1:] if name == SUMMARY.value]
    _equal("ContentSequence, checks", checks, list(check_lines(document.flags)))
    findings = [text for name, text in texts if name == FINDING.value]
    _equal("ContentSequence, finding", findings, [join_lines(document.findings)])


def _check_image(report: SourceHeader, source: SourceHeader) -> None:
    analysed = source.text("SOPClassUID"), source.text("SOPInstanceUID")
    images = [_reference(item) for node in _walk(report) for item in node.items("ReferencedSOPSequence")]
    _equal("ContentSequence, image reference", images, [analysed])
    evidence = [
        (study.text("StudyInstanceUID"), series.text("SeriesInstanceUID"), *_reference(item))
        for study in report.items("CurrentRequestedProcedureEvidenceSequence")
        for series in study.items("ReferencedSeriesSequence")
        for item in series.items("ReferencedSOPSequence")
    ]
    expected = [(source.text("StudyInstanceUID"), source.text("SeriesInstanceUID"), *analysed)]
    _equal("CurrentRequestedProcedureEvidenceSequence", evidence, expected)


def _walk(node: SourceHeader) -> Iterator[SourceHeader]:
    for item in node.items("ContentSequence"):
        yield item
        yield from _walk(item)


def _texts(section: SourceHeader) -> Iterator[SourceHeader]:
    return (item for item in _walk(section) if item.text("ValueType") == "TEXT")


def _name(item: SourceHeader) -> str:
    return "".join(code.text("CodeValue") for code in item.items("ConceptNameCodeSequence"))


def _reference(item: SourceHeader) -> tuple[str, str]:
    return item.text("ReferencedSOPClassUID"), item.text("ReferencedSOPInstanceUID")


def _equal(field: str, found: object, expected: object) -> None:
    """The values stay out of the message: they may be the patient's."""
    if found != expected:
        raise InvalidOutput(f"SR gate: {field} is not what the draft says")
