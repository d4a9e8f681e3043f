"""A DX image header that passes every checker, and the document made from it (standards §2.5, "Test inputs")."""

import warnings
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from dicom_node.labels import Label, Labeller, Labels, Laterality, Presence
from dicom_node.peers import DicomDestination, MllpDestination
from dicom_node.product import DISCLAIMER
from integration.document import ModelIdentity, ReportDocument

SHARED = Path(__file__).parents[3] / "shared"
FINDINGS = "The heart size is normal.\n\nNo focal consolidation, pleural effusion or pneumothorax."
FLAGS = ("Cut short at the limit of 256 tokens: the end is missing.", 'States a size: "3 cm\n| groß".')
CHECKS = (f"Check: {FLAGS[0]}", 'Check: States a size: "3 cm | groß".')
RIS = MllpDestination(name="ris", host="127.0.0.1")
PACS = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1")
MODEL = ModelIdentity(name="LLaVA-Rad", version="1.0.0", digest="ab" * 32, is_synthetic=False)
LABELS = Labels(
    Labeller("sample labeller (rule-based, for free text)", "1", "cd" * 32),
    (
        Label(Code("60046008", "SCT", "Pleural effusion"), Presence.PRESENT, Laterality.LEFT, "Left effusion."),
        Label(Code("36118008", "SCT", "Pneumothorax"), Presence.ABSENT, Laterality.UNSAID, "No pneumothorax."),
        Label(Code("46621007", "SCT", "Atelectasis"), Presence.UNDETERMINED, Laterality.BILATERAL, "May be."),
    ),
)
SYNTHETIC_MODEL = replace(MODEL, is_synthetic=True)
SYNTHETIC_OPENING = "SYNTHETIC TEST MODEL: nothing below is about the patient."


def make_header(**changes: object) -> Dataset:
    """None removes an element."""
    values: dict[str, object] = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.1.3",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1.2",
        "Modality": "DX",
        "PatientName": "CANARY^PHI",
        "PatientID": "P0001",
        "IssuerOfPatientID": "HOSP",
        "PatientBirthDate": "19600102",
        "PatientSex": "F",
        "PatientAge": "066Y",
        "StudyDate": "20260801",
        "StudyTime": "101500",
        "StudyID": "S1",
        "AccessionNumber": "ACC0001",
        "ReferringPhysicianName": "Ref^Erring",
        "StudyDescription": "Chest PA",
    }
    ds = Dataset()
    for keyword, value in (values | changes).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def as_received(ds: Dataset) -> Dataset:
    """The header as a file gives it: elements still undecoded."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def make_code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def make_request() -> Dataset:
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    request = Dataset()
    request.AccessionNumber = "ACC0001"
    request.IssuerOfAccessionNumberSequence = [issuer]
    request.PlacerOrderNumberImagingServiceRequest = "PLC1"
    request.FillerOrderNumberImagingServiceRequest = "FIL1"
    request.RequestedProcedureID = "RP1"
    request.RequestedProcedureDescription = "Chest two views"
    request.RequestedProcedureCodeSequence = [make_code("36643-5", "LN", "XR Chest 2 Views")]
    request.ScheduledProcedureStepID = "SPS1"
    request.ReasonForTheRequestedProcedure = "Cough"
    return request


def make_document(evidence: Dataset | None = None, **changes: object) -> ReportDocument:
    document = ReportDocument(
        evidence=as_received(make_header()) if evidence is None else evidence,
        findings=FINDINGS,
        flags=(),
        indication="Cough, fever",
        disclaimer=DISCLAIMER,
        revision=1,
        drafted_at=datetime(2026, 8, 1, 10, 30, tzinfo=UTC),
        time_zone=ZoneInfo("Europe/Berlin"),
        model=MODEL,
        node_name="CXRNODE",
        sending_application="CXRNODE",
        sending_facility="RADIOLOGY",
        processing_id="P",
    )
    return replace(document, **changes)  # type: ignore[arg-type]  # names are checked by replace


def read_real(path: Path) -> Dataset:
    return dcmread(path, stop_before_pixels=True)


def read_leniently(source: Path | bytes, keyword: str) -> str:
    """A value as pydicom reads it, whatever it thinks of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(BytesIO(source) if isinstance(source, bytes) else source, stop_before_pixels=True)
        return str(ds.get(keyword, ""))
