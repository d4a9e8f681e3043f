"""The content tree of the draft: TID 2000 "Basic Diagnostic Imaging Report" (PS3.16)."""

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from dicom_node.product import MANUFACTURER
from integration.document import ReportDocument
from integration.report_text import check_lines, split_lines
from integration.source_header import SourceHeader
from integration.sr_element import code_item, make_item, put, read_codes
from integration.sr_header import image_reference
from integration.sr_identity import model_device_uid

TEMPLATE = "2000"
REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")  # CID 7000
LANGUAGE = Code("121049", "DCM", "Language of Content Item and Descendants")  # TID 1204
ENGLISH = Code("en-US", "RFC5646", "English (United States)")  # CID 5000
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")  # TID 1002
DEVICE = Code("121007", "DCM", "Device")  # CID 270
DEVICE_UID = Code("121012", "DCM", "Device Observer UID")  # TID 1004
DEVICE_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL = Code("121016", "DCM", "Device Observer Serial Number")
SUMMARY = Code("55112-7", "LN", "Summary")  # CID 7001, and 7002 for its text
INDICATIONS = Code("18785-6", "LN", "Indications for Procedure")  # CID 7001
REQUEST = Code("55115-0", "LN", "Request")  # CID 7002
FINDINGS = Code("59776-5", "LN", "Findings")  # CID 7001
FINDING = Code("121071", "DCM", "Finding")  # CID 7002
SOURCE = Code("121112", "DCM", "Source of Measurement")  # CID 7003

_MODIFIER = "HAS CONCEPT MOD"  # PS3.3 C.17.3, (0040,A010)
_CONTEXT = "HAS OBS CONTEXT"
_CONTAINS = "CONTAINS"
_INFERRED = "INFERRED FROM"
_LINE_END = "\r\n"  # PS3.5 6.1.3


def describe_content(target: Dataset, document: ReportDocument) -> None:
    """Write the tree below the root container; the disclaimer, then what to check, is its first section.

    Source: PS3.16 TID 2000.
    """
    source = SourceHeader.of(document.evidence)
    put(target, "ValueType", "CONTAINER")
    put(target, "ConceptNameCodeSequence", [code_item(REPORT)])
    put(target, "ContinuityOfContent", "SEPARATE")
    template = make_item(MappingResource="DCMR", TemplateIdentifier=TEMPLATE)
    put(target, "ContentTemplateSequence", [template])
    procedures = [_code(PROCEDURE_REPORTED, code, relationship=_MODIFIER) for code in procedure_codes(source)]
    put(
        target,
        "ContentSequence",
        [
            _code(LANGUAGE, ENGLISH, relationship=_MODIFIER),
            *procedures,
            *_observer(document),
            *_sections(document, source),
        ],
    )


def join_lines(text: str) -> str:
    """The normalised text as a UT value: CR LF between lines."""
    return _LINE_END.join(split_lines(text))


def procedure_codes(source: SourceHeader) -> tuple[Code, ...]:
    """The imaging procedure: as performed, else as requested; empty if the image names none."""
    if performed := read_codes(source, "ProcedureCodeSequence"):
        return performed
    requests = (source, *source.items("RequestAttributesSequence"))
    return next(filter(None, (read_codes(each, "RequestedProcedureCodeSequence") for each in requests)), ())


def _sections(document: ReportDocument, source: SourceHeader) -> list[Dataset]:
    finding = _text(FINDING, join_lines(document.findings))
    put(finding, "ContentSequence", [_image(source)])
    summary = (join_lines(document.opening), *check_lines(document.flags))
    sections = [_section(SUMMARY, [_text(SUMMARY, each) for each in summary])]
    if indication := join_lines(document.indication):
        sections.append(_section(INDICATIONS, [_text(REQUEST, indication)]))
    return [*sections, _section(FINDINGS, [finding])]


def _observer(document: ReportDocument) -> list[Dataset]:
    """Source: PS3.16 TID 1002, TID 1004. The observer is the model on this node."""
    return [
        _code(OBSERVER_TYPE, DEVICE, relationship=_CONTEXT),
        _uid(DEVICE_UID, model_device_uid(document.model), relationship=_CONTEXT),
        _text(DEVICE_NAME, document.node_name, relationship=_CONTEXT),
        _text(DEVICE_MANUFACTURER, MANUFACTURER, relationship=_CONTEXT),
        _text(DEVICE_MODEL, document.model.name, relationship=_CONTEXT),
        _text(DEVICE_SERIAL, document.model.digest, relationship=_CONTEXT),
    ]


def _section(name: Code, items: Iterable[Dataset]) -> Dataset:
    section = _named("CONTAINER", name, relationship=_CONTAINS)
    put(section, "ContinuityOfContent", "SEPARATE")
    put(section, "ContentSequence", items)
    return section


def _text(name: Code, value: str, *, relationship: str = _CONTAINS) -> Dataset:
    item = _named("TEXT", name, relationship=relationship)
    put(item, "TextValue", value)
    return item


def _code(name: Code, value: Code, *, relationship: str) -> Dataset:
    item = _named("CODE", name, relationship=relationship)
    put(item, "ConceptCodeSequence", [code_item(value)])
    return item


def _uid(name: Code, value: UID, *, relationship: str) -> Dataset:
    item = _named("UIDREF", name, relationship=relationship)
    put(item, "UID", value)
    return item


def _image(source: SourceHeader) -> Dataset:
    item = _named("IMAGE", SOURCE, relationship=_INFERRED)
    put(item, "ReferencedSOPSequence", [image_reference(source)])
    return item


def _named(value_type: str, name: Code, *, relationship: str) -> Dataset:
    return make_item(RelationshipType=relationship, ValueType=value_type, ConceptNameCodeSequence=[code_item(name)])
