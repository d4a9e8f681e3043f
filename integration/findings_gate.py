"""The last look at the coded findings before they leave: the codes in the bytes are the labels, no more, no less."""

from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.errors import InvalidOutput
from dicom_node.labels import Label, Labels
from integration.document import ReportDocument
from integration.findings_content import COMMENT, EVALUATIONS, LATERALITIES, MEASUREMENTS, PRESENCES
from integration.object_gate import check_image, check_object, code_of, nodes, read_back, require_equal
from integration.report_text import check_lines
from integration.source_header import SourceHeader
from integration.sr_content import FINDING, join_lines
from integration.sr_element import read_codes
from integration.sr_header import COMPLETE
from integration.sr_identity import findings_sop_instance_uid, labeller_device, model_device_uid

_ALGORITHM_NAME, _ALGORITHM_VERSION = "111001", "111003"  # TID 4019
_LATERALITY = "272741003"  # of a finding site: TID 1501

_Statement = tuple[tuple[Code, ...], ...]  # the finding, whether it is there, its side


def check_findings(payload: bytes, document: ReportDocument, labels: Labels) -> None:
    """Raises InvalidOutput, naming the attribute, unless the bytes say these labels about this patient and image."""
    report = read_back(payload)
    stated = {
        "SOPClassUID": Comprehensive3DSRStorage,
        "SOPInstanceUID": findings_sop_instance_uid(document, labels),
        "CompletionFlag": COMPLETE,
    }
    source = SourceHeader.of(document.evidence)
    check_object(report, source, stated)
    devices = [item.text("DeviceUID") for item in report.items("ContributingEquipmentSequence")]
    expected = [model_device_uid(document.model), labeller_device(document.model, labels.labeller).uid]
    require_equal("ContributingEquipmentSequence", devices, expected)
    _check_groups(_only(report, MEASUREMENTS).items("ContentSequence"), labels)
    _check_words(_only(report, EVALUATIONS), document)
    check_image(report, source)


def _check_groups(groups: tuple[SourceHeader, ...], labels: Labels) -> None:
    """Group by group what it says, and who says so."""
    found = [_statement(group) for group in groups]
    require_equal("ContentSequence, findings", found, [_expected(label) for label in labels.labels])
    labellers = {(_text(group, _ALGORITHM_NAME), _text(group, _ALGORITHM_VERSION)) for group in groups}
    require_equal("ContentSequence, algorithm", labellers, {(labels.labeller.name, labels.labeller.version)})


def _expected(label: Label) -> _Statement:
    side = LATERALITIES.get(label.laterality)
    return (label.finding,), (PRESENCES[label.presence],), (side,) if side else ()


def _statement(group: SourceHeader) -> _Statement:
    finding = _values(group, FINDING.value)
    names = [code.value for code in finding]
    return finding, _values(group, *names), _values(group, _LATERALITY)


def _check_words(words: SourceHeader, document: ReportDocument) -> None:
    """The opening first, no check lost, and the one finding is the draft."""
    comments = [item.text("TextValue") for item in _named(words, COMMENT.value)]
    require_equal("ContentSequence, comments", comments, [join_lines(document.opening), *check_lines(document.flags)])
    findings = [item.text("TextValue") for item in _named(words, FINDING.value)]
    require_equal("ContentSequence, finding", findings, [join_lines(document.findings)])


def _values(item: SourceHeader, *names: str) -> tuple[Code, ...]:
    return tuple(code for each in _named(item, *names) for code in read_codes(each, "ConceptCodeSequence"))


def _text(item: SourceHeader, name: str) -> str:
    return "".join(each.text("TextValue") for each in _named(item, name))


def _only(item: SourceHeader, name: Code) -> SourceHeader:
    found = _named(item, name.value)
    if len(found) != 1:
        raise InvalidOutput(f"SR gate: {len(found)} times {name.meaning}, expected once")
    return found[0]


def _named(item: SourceHeader, *names: str) -> list[SourceHeader]:
    """The items below that bear one of the names."""
    return [node for node in nodes(item) if code_of(node) in names]
