"""The withdrawal of a draft as DICOM says it: a Key Object Selection that rejects what was sent (PS3.3 A.35.4).

For a PACS that by IHE IOCM hides or deletes what a rejection note names. It holds no finding, and no word of a person.
"""

from collections import defaultdict

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage

from dicom_node.errors import InvalidOutput, NothingToTell
from dicom_node.peers import DicomDestination
from dicom_node.uids import derive_uid
from integration.destinations import Encoded
from integration.document import ReportDocument
from integration.history import SentObject
from integration.rejection_gate import check_rejection
from integration.source_header import SourceHeader
from integration.sr_element import code_item, make_item, put
from integration.sr_file import finish, to_bytes
from integration.sr_header import describe_equipment, describe_patient_and_study, locally
from integration.sr_identity import draft_key, node_device_uid

MODALITY = "KO"
SERIES_NUMBER = "9909"
SERIES_DESCRIPTION = "AI DRAFT withdrawn (rejection note)"
TEMPLATE = "2010"
REJECTED = Code("113037", "DCM", "Rejected for Patient Safety Reasons")  # CID 7010, 7011
DESCRIPTION = Code("113012", "DCM", "Key Object Description")
WORDS = "The AI draft was withdrawn. Do not use the objects that this note names."

_IMAGES = (SecondaryCaptureImageStorage,)  # all else that is sent is a document or a presentation state


def encode_rejection(document: ReportDocument, destination: DicomDestination) -> Encoded:
    """Write the note as a file that passed its gate.

    Raises NothingToTell if the PACS has nothing of the draft, InvalidOutput for a draft that stands.
    """
    if not document.sent:
        raise NothingToTell(f"{destination.name} has nothing of the draft")
    note = build_rejection(document, destination)
    payload = to_bytes(note)
    check_rejection(payload, document)
    return Encoded(payload=payload, identifier=str(note.SOPInstanceUID))


def build_rejection(document: ReportDocument, destination: DicomDestination) -> Dataset:
    """Make the note as a data set with file meta information. Equal arguments give equal data sets."""
    source = SourceHeader.of(document.evidence)
    note = Dataset()
    describe_patient_and_study(note, source)
    describe_equipment(note, document)
    _describe_series(note, source)
    _describe_document(note, document, _sop_instance_uid(document, destination))
    put(note, "CurrentRequestedProcedureEvidenceSequence", [_evidence(source, document.sent)])
    _describe_content(note, document)
    finish(note, source)
    return note


def _sop_instance_uid(document: ReportDocument, destination: DicomDestination) -> UID:
    """One per draft and PACS: what the note names is what that PACS was sent."""
    return derive_uid("rejection", *draft_key(document), destination.name)


def _describe_series(note: Dataset, source: SourceHeader) -> None:
    """Source: PS3.3 C.17.6.1."""
    put(note, "Modality", MODALITY)
    put(note, "SeriesInstanceUID", derive_uid(source.require("StudyInstanceUID"), "rejection"))
    put(note, "SeriesNumber", SERIES_NUMBER)
    put(note, "SeriesDescription", SERIES_DESCRIPTION)
    put(note, "ReferencedPerformedProcedureStepSequence", [])


def _describe_document(note: Dataset, document: ReportDocument, sop_instance_uid: UID) -> None:
    """Source: PS3.3 C.17.6.2, C.12.1."""
    if document.withdrawn_at is None:
        raise InvalidOutput("rejection note: a draft that was not withdrawn is not rejected")
    at = locally(document, document.withdrawn_at)
    put(note, "SOPClassUID", KeyObjectSelectionDocumentStorage)
    put(note, "SOPInstanceUID", sop_instance_uid)
    put(note, "InstanceNumber", str(document.revision))
    put(note, "InstanceCreatorUID", node_device_uid(document.node_name))
    for keyword in ("InstanceCreationDate", "ContentDate"):
        put(note, keyword, at.strftime("%Y%m%d"))
    for keyword in ("InstanceCreationTime", "ContentTime"):
        put(note, keyword, at.strftime("%H%M%S"))


def _evidence(source: SourceHeader, sent: tuple[SentObject, ...]) -> Dataset:
    """Source: PS3.3 table C.17-3, Hierarchical SOP Instance Reference Macro."""
    by_series: dict[str, list[Dataset]] = defaultdict(list)
    for each in sent:
        by_series[each.series_instance_uid].append(_reference(each))
    series = [make_item(SeriesInstanceUID=uid, ReferencedSOPSequence=items) for uid, items in by_series.items()]
    return make_item(StudyInstanceUID=source.require("StudyInstanceUID"), ReferencedSeriesSequence=series)


def _describe_content(note: Dataset, document: ReportDocument) -> None:
    """Source: PS3.16 TID 2010: the words, then images, then other objects, none with a concept name."""
    put(note, "ValueType", "CONTAINER")
    put(note, "ConceptNameCodeSequence", [code_item(REJECTED)])
    put(note, "ContinuityOfContent", "SEPARATE")
    put(note, "ContentTemplateSequence", [make_item(MappingResource="DCMR", TemplateIdentifier=TEMPLATE)])
    words = make_item(
        RelationshipType="CONTAINS",
        ValueType="TEXT",
        ConceptNameCodeSequence=[code_item(DESCRIPTION)],
        TextValue=WORDS,
    )
    items = sorted(map(_item, document.sent), key=lambda item: item.ValueType != "IMAGE")
    put(note, "ContentSequence", [words, *items])


def _item(sent: SentObject) -> Dataset:
    return make_item(
        RelationshipType="CONTAINS",
        ValueType="IMAGE" if sent.sop_class_uid in _IMAGES else "COMPOSITE",
        ReferencedSOPSequence=[_reference(sent)],
    )


def _reference(sent: SentObject) -> Dataset:
    return make_item(ReferencedSOPClassUID=sent.sop_class_uid, ReferencedSOPInstanceUID=sent.sop_instance_uid)
