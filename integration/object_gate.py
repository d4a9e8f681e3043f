"""What the gates of all SRs ask: the same patient, study and image, and nothing verified, final or by a person."""

from collections.abc import Iterator, Mapping
from io import BytesIO

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.errors import InvalidOutput
from integration.source_header import SourceHeader
from integration.sr_header import COPIED, PRELIMINARY, RESEARCH, UNVERIFIED, fitting

_STATED = {  # standards §5.3: the safety invariants
    "Modality": "SR",
    "VerificationFlag": UNVERIFIED,
    "PreliminaryFlag": PRELIMINARY,
    "ContentQualification": RESEARCH,
}
_PERSONS = ("VerifyingObserverSequence", "ParticipantSequence")
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"


def read_back(payload: bytes) -> SourceHeader:
    """Raises InvalidOutput if the bytes are no DICOM file."""
    try:
        return SourceHeader.of(dcmread(BytesIO(payload)))
    except InvalidDicomError as error:
        raise InvalidOutput("SR gate: payload is not a DICOM file") from error


def check_object(report: SourceHeader, source: SourceHeader, stated: Mapping[str, str]) -> None:
    """Raises InvalidOutput naming the attribute. stated: what this kind of SR has to say beside what all have."""
    for keyword, value in {**_STATED, **stated}.items():
        require_equal(keyword, report.text(keyword), value)
    require_copied(report, source)
    for keyword in _PERSONS:
        require_equal(keyword, str(keyword in report.dataset), str(False))
    types = [author.text("ObserverType") for author in report.items("AuthorObserverSequence")]
    require_equal("AuthorObserverSequence", types, ["DEV"])


def check_image(report: SourceHeader, source: SourceHeader) -> None:
    """The drafted image is referenced in the tree, no other is, and it is the evidence."""
    analysed = source.text("SOPClassUID"), source.text("SOPInstanceUID")
    images = {_reference(item) for node in nodes(report) for item in node.items("ReferencedSOPSequence")}
    require_equal("ContentSequence, image reference", images, {analysed})
    expected = [(source.text("StudyInstanceUID"), source.text("SeriesInstanceUID"), *analysed)]
    require_equal(_EVIDENCE, hierarchical(report, _EVIDENCE), expected)


def require_copied(report: SourceHeader, source: SourceHeader) -> None:
    """Raises InvalidOutput unless the object is of the image's patient and study."""
    for keyword in COPIED:
        require_equal(keyword, report.text(keyword), fitting(source, keyword))


def nodes(item: SourceHeader) -> Iterator[SourceHeader]:
    """The content tree below an item, in its order."""
    for child in item.items("ContentSequence"):
        yield child
        yield from nodes(child)


def code_of(item: SourceHeader) -> str:
    """The value of its concept name; empty if it has none."""
    return "".join(code.text("CodeValue") for code in item.items("ConceptNameCodeSequence"))


def hierarchical(report: SourceHeader, keyword: str) -> list[tuple[str, str, str, str]]:
    """Study, series, SOP class and instance of each reference. Source: PS3.3 table C.17-3."""
    return [
        (study.text("StudyInstanceUID"), series.text("SeriesInstanceUID"), *_reference(item))
        for study in report.items(keyword)
        for series in study.items("ReferencedSeriesSequence")
        for item in series.items("ReferencedSOPSequence")
    ]


def require_equal(field: str, found: object, expected: object) -> None:
    """Raises InvalidOutput. The values stay out of the message: they may be the patient's."""
    if found != expected:
        raise InvalidOutput(f"SR gate: {field} is not what the draft says")


def _reference(item: SourceHeader) -> tuple[str, str]:
    return item.text("ReferencedSOPClassUID"), item.text("ReferencedSOPInstanceUID")
