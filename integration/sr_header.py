"""The header of the draft report: patient and study as in the image, everything else says "draft, by a device"."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, BasicTextSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from dicom_node.peers import SrClass
from dicom_node.product import MANUFACTURER, MODEL_NAME, SYNTHETIC, software_version
from integration.document import ReportDocument
from integration.order_numbers import NO_ORDER, OrderNumbers
from integration.source_header import SourceHeader, tag_of
from integration.sr_element import code_item, make_item, put, read_codes
from integration.sr_identity import Device, model_device, node_device_uid

MODALITY = "SR"
SR_CLASSES: Mapping[SrClass, UID] = {  # PS3.3 A.35.1, A.35.2, A.35.3
    "basic": BasicTextSRStorage,
    "enhanced": EnhancedSRStorage,
    "comprehensive": ComprehensiveSRStorage,
}
PARTIAL = "PARTIAL"  # PS3.3 C.17.2, (0040,A491): findings only, a radiologist completes the report
COMPLETE = "COMPLETE"  # all that its author had to say
UNVERIFIED = "UNVERIFIED"  # (0040,A493)
PRELIMINARY = "PRELIMINARY"  # (0040,A496)
RESEARCH = "RESEARCH"  # PS3.3 C.12.1.1.9, (0018,9004)
DEVICE = "DEV"  # PS3.3 C.17.2, (0040,A084)
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")  # CID 7005, IHE AIR 6.5.3.1

# PS3.3 C.7.1.1, C.7.2.1: type 2, empty if the image has none
_COPIED_OR_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.12.1: type 3
_COPIED_IF_PRESENT = (
    "IssuerOfPatientID",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "TimezoneOffsetFromUTC",  # governs the copied Study Date and Time
)
COPIED = ("StudyInstanceUID", *_COPIED_OR_EMPTY, *_COPIED_IF_PRESENT)
_LONGEST_SH, _LONGEST_LO = 16, 64  # characters, PS3.5 6.2
_ISSUER = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")  # PS3.3 10.14
_OTHER_ID = ("PatientID", "TypeOfPatientID", "IssuerOfPatientID")  # PS3.3 C.7.1.1


@dataclass(frozen=True)
class SrProduct:
    """In what the SRs of a draft differ."""

    sop_class_uid: UID
    sop_instance_uid: UID
    series_instance_uid: UID
    series_number: str
    series_description: str
    completion_flag: str  # PS3.3 C.17.2, (0040,A491)
    completion_description: str
    author: Device


def describe_patient_and_study(target: Dataset, source: SourceHeader) -> None:
    """Copy the Patient and Study modules word for word. Source: PS3.3 C.7.1.1, C.7.2.1, C.7.2.2."""
    put(target, "StudyInstanceUID", source.require("StudyInstanceUID"))
    for keyword in _COPIED_OR_EMPTY:
        put(target, keyword, fitting(source, keyword))
    for keyword in _COPIED_IF_PRESENT:
        if value := source.text(keyword):
            put(target, keyword, value)
    _copy_items(target, source, keyword="IssuerOfPatientIDQualifiersSequence", wanted=_ISSUER[1:], required=_ISSUER[1:])
    _copy_items(target, source, keyword="IssuerOfAccessionNumberSequence", wanted=_ISSUER)
    _copy_items(target, source, keyword="OtherPatientIDsSequence", wanted=_OTHER_ID, required=_OTHER_ID[:2])
    if codes := read_codes(source, "ProcedureCodeSequence"):
        put(target, "ProcedureCodeSequence", map(code_item, codes))


def describe_series(target: Dataset, document: ReportDocument, product: SrProduct) -> None:
    """Source: PS3.3 C.17.1. No Series Date: later drafts join the series, and its attributes must stay equal."""
    put(target, "Modality", MODALITY)
    put(target, "SeriesInstanceUID", product.series_instance_uid)
    put(target, "SeriesNumber", product.series_number)
    synthetic = f"{SYNTHETIC}, " if document.model.is_synthetic else ""
    put(target, "SeriesDescription", f"{synthetic}{product.series_description}")
    put(target, "ReferencedPerformedProcedureStepSequence", [])


def describe_equipment(target: Dataset, document: ReportDocument, *others: Device) -> None:
    """The node wrote the object, the model and others contributed. Source: PS3.3 C.7.5.1, C.12.1; IHE AIR 6.5.3.1."""
    put(target, "Manufacturer", MANUFACTURER)
    put(target, "ManufacturerModelName", MODEL_NAME)
    put(target, "SoftwareVersions", software_version())
    put(target, "StationName", document.node_name)
    put(target, "DeviceUID", node_device_uid(document.node_name))
    devices = (model_device(document.model), *others)
    put(target, "ContributingEquipmentSequence", [_contributor(document, device) for device in devices])


def describe_document(target: Dataset, document: ReportDocument, product: SrProduct) -> None:
    """Source: PS3.3 C.17.2, C.12.1. The flags are constants: nothing can make a draft verified or final."""
    drafted_at = drafted_locally(document)
    date, time = drafted_at.strftime("%Y%m%d"), drafted_at.strftime("%H%M%S")
    put(target, "SOPClassUID", product.sop_class_uid)
    put(target, "SOPInstanceUID", product.sop_instance_uid)
    put(target, "InstanceNumber", str(document.revision))
    put(target, "InstanceCreationDate", date)
    put(target, "InstanceCreationTime", time)
    put(target, "InstanceCreatorUID", node_device_uid(document.node_name))
    put(target, "ContentDate", date)
    put(target, "ContentTime", time)
    put(target, "CompletionFlag", product.completion_flag)
    put(target, "CompletionFlagDescription", product.completion_description)
    put(target, "VerificationFlag", UNVERIFIED)
    put(target, "PreliminaryFlag", PRELIMINARY)
    put(target, "ContentQualification", RESEARCH)
    put(target, "AuthorObserverSequence", [_author(document, product.author)])


def describe_references(target: Dataset, source: SourceHeader, order: OrderNumbers) -> None:
    """The request that is answered and the image that was read. Source: PS3.3 C.17.2, C.17.2.1.

    order: for what the image does not say of its only request, or for an image that names none.
    """
    if requests := _requests(source, order):
        put(target, "ReferencedRequestSequence", requests)
    put(target, "PerformedProcedureCodeSequence", map(code_item, read_codes(source, "ProcedureCodeSequence")))
    evidence = _in_study(source, source.require("SeriesInstanceUID"), image_reference(source))
    put(target, "CurrentRequestedProcedureEvidenceSequence", [evidence])


def describe_predecessor(target: Dataset, document: ReportDocument) -> None:
    """The draft of a revision before, in the same study. Source: PS3.3 C.17.2, Predecessor Documents Sequence."""
    before = document.predecessor
    if before is None or not before.sop_instance_uid:
        return
    report = make_item(ReferencedSOPClassUID=before.sop_class_uid, ReferencedSOPInstanceUID=before.sop_instance_uid)
    source = SourceHeader.of(document.evidence)
    put(target, "PredecessorDocumentsSequence", [_in_study(source, before.series_instance_uid, report)])


def image_reference(source: SourceHeader) -> Dataset:
    """Source: PS3.3 10.8, SOP Instance Reference Macro."""
    return make_item(
        ReferencedSOPClassUID=source.require("SOPClassUID"), ReferencedSOPInstanceUID=source.require("SOPInstanceUID")
    )


def fitting(source: SourceHeader, keyword: str) -> str:
    """The value, or empty if it is longer than an SH may be (PS3.5 6.2): half a number would be another study's.

    The Study Instance UID still says which study it is, and the ORU has room for the whole number.
    """
    value = source.text(keyword)
    is_too_long = dictionary_VR(tag_of(keyword)) == "SH" and len(value) > _LONGEST_SH
    return "" if is_too_long else value


def drafted_locally(document: ReportDocument) -> datetime:
    return locally(document, document.drafted_at)


def locally(document: ReportDocument, at: datetime) -> datetime:
    """A time in the zone that governs the object: the image's own offset, else the site's."""
    offset = SourceHeader.of(document.evidence).text("TimezoneOffsetFromUTC")
    return at.astimezone(parse_offset(offset) if offset else document.time_zone)


def parse_offset(offset: str) -> tzinfo:
    """offset: ±HHMM, checked by SourceHeader."""
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _contributor(document: ReportDocument, device: Device) -> Dataset:
    return make_item(
        PurposeOfReferenceCodeSequence=[code_item(PROCESSING_EQUIPMENT)],
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=device.model_name,
        SoftwareVersions=f"{device.version}\\{device.digest}",
        DeviceUID=device.uid,
        ContributionDateTime=drafted_locally(document).strftime("%Y%m%d%H%M%S%z"),
        ContributionDescription=device.contribution,
    )


def _author(document: ReportDocument, device: Device) -> Dataset:
    """A device, never a person. Source: PS3.3 C.17.2, Author Observer Sequence."""
    return make_item(
        ObserverType=DEVICE,
        DeviceUID=device.uid,
        StationName=document.node_name,
        Manufacturer=MANUFACTURER,
        ManufacturerModelName=device.model_name,
        InstitutionName="",
        InstitutionCodeSequence=[],
    )


def _in_study(source: SourceHeader, series_instance_uid: str, reference: Dataset) -> Dataset:
    """Source: PS3.3 table C.17-3, Hierarchical SOP Instance Reference Macro."""
    series = make_item(SeriesInstanceUID=series_instance_uid, ReferencedSOPSequence=[reference])
    return make_item(StudyInstanceUID=source.require("StudyInstanceUID"), ReferencedSeriesSequence=[series])


def _requests(source: SourceHeader, order: OrderNumbers) -> list[Dataset]:
    requests = source.items("RequestAttributesSequence")
    if len(requests) > 1:  # which of them the order is of cannot be told
        return [_request(source, request, NO_ORDER) for request in requests]
    if not requests and order != NO_ORDER:
        requests = (SourceHeader(Dataset(), ()),)
    return [_request(source, request, order) for request in requests]


def _request(source: SourceHeader, request: SourceHeader, order: OrderNumbers) -> Dataset:
    """Source: PS3.3 C.17.2, Referenced Request Sequence; values from PS3.3 10.6, Request Attributes Macro."""
    placer, filler = ("".join(number[:1]) for number in (order.placer, order.filler))
    item = make_item(
        StudyInstanceUID=request.text("StudyInstanceUID") or source.require("StudyInstanceUID"),
        ReferencedStudySequence=[],
        AccessionNumber=fitting(request, "AccessionNumber") or _or_told(source, "AccessionNumber", order.accession),
        PlacerOrderNumberImagingServiceRequest=_or_told(request, "PlacerOrderNumberImagingServiceRequest", placer),
        FillerOrderNumberImagingServiceRequest=_or_told(request, "FillerOrderNumberImagingServiceRequest", filler),
        RequestedProcedureID=_or_told(request, "RequestedProcedureID", order.requested_procedure_id),
        RequestedProcedureDescription=request.text("RequestedProcedureDescription"),
        RequestedProcedureCodeSequence=map(code_item, read_codes(request, "RequestedProcedureCodeSequence")),
    )
    if reason := request.text("ReasonForTheRequestedProcedure"):
        put(item, "ReasonForTheRequestedProcedure", reason)
    _copy_items(item, request, keyword="IssuerOfAccessionNumberSequence", wanted=_ISSUER)
    return item


def _or_told(request: SourceHeader, keyword: str, told: str) -> str:
    """What the image says, else what the order says, if the element can hold it (PS3.5 6.2)."""
    longest = _LONGEST_SH if dictionary_VR(tag_of(keyword)) == "SH" else _LONGEST_LO
    is_holdable = len(told) <= longest and "\\" not in told
    return fitting(request, keyword) or (told if is_holdable else "")


def _copy_items(
    target: Dataset, source: SourceHeader, *, keyword: str, wanted: tuple[str, ...], required: tuple[str, ...] = ()
) -> None:
    """Copy the wanted attributes of each item that has something and all that is required of it."""
    values = ({name: item.text(name) for name in wanted if item.text(name)} for item in source.items(keyword))
    if kept := [make_item(**each) for each in values if each and set(required) <= set(each)]:
        put(target, keyword, kept)
