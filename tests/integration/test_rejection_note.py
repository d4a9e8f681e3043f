"""The rejection note: whose and what it names, and what independent validators say of it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from delivery_peers import orthanc, storescp
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from report_samples import SHARED, as_received, make_document, make_header, make_request

from dicom_node.errors import InvalidOutput, NothingToTell
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration.destinations import Outcome
from integration.document import ReportDocument
from integration.history import SentObject
from integration.rejection_gate import check_rejection
from integration.rejection_note import build_rejection, encode_rejection
from integration.sr_file import to_bytes
from integration.store_scu import StoreScu

VALIDATOR = SHARED / "tools" / "validate_sr" / "validate_sr.sh"
PACS = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1")
SR = SentObject(BasicTextSRStorage, "1.2.3.1", "1.2.4.1")
PDF = SentObject(EncapsulatedPDFStorage, "1.2.3.2", "1.2.4.2")
PAGE = SentObject(SecondaryCaptureImageStorage, "1.2.3.3", "1.2.4.3")
GSPS = SentObject(GrayscaleSoftcopyPresentationStateStorage, "1.2.3.4", "1.2.4.3")


def withdrawn(*sent: SentObject, **header: object) -> ReportDocument:
    evidence = as_received(make_header(**header))
    return make_document(evidence, sent=sent, withdrawn_at=datetime(2026, 8, 1, 22, 30, tzinfo=UTC))


def reread(document: ReportDocument) -> Dataset:
    return dcmread(BytesIO(encode_rejection(document, PACS).payload))


def test_a_note_is_of_the_images_patient_and_study_and_of_the_moment_of_the_withdrawal() -> None:
    note = reread(withdrawn(SR))
    assert (note.SOPClassUID, note.Modality) == (KeyObjectSelectionDocumentStorage, "KO")
    assert (note.PatientID, note.IssuerOfPatientID, note.AccessionNumber) == ("P0001", "HOSP", "ACC0001")
    assert (note.StudyInstanceUID, note.SeriesNumber) == (make_header().StudyInstanceUID, 9909)
    assert (note.ContentDate, note.ContentTime) == ("20260802", "003000")  # Berlin
    (title,) = note.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")


def test_a_note_names_each_object_in_its_series_and_nothing_else() -> None:
    note = reread(withdrawn(SR, PDF, PAGE, GSPS))
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    by_series = {
        series.SeriesInstanceUID: {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence}
        for series in study.ReferencedSeriesSequence
    }
    assert by_series == {"1.2.4.1": {"1.2.3.1"}, "1.2.4.2": {"1.2.3.2"}, "1.2.4.3": {"1.2.3.3", "1.2.3.4"}}
    words, *items = note.ContentSequence
    assert words.TextValue.startswith("The AI draft was withdrawn.")
    assert [item.ValueType for item in items] == ["IMAGE", "COMPOSITE", "COMPOSITE", "COMPOSITE"]


def test_equal_withdrawals_give_equal_bytes_and_each_pacs_its_own_note() -> None:
    document = withdrawn(SR)
    assert encode_rejection(document, PACS) == encode_rejection(document, PACS)
    other = PACS.model_copy(update={"name": "other"})
    identifiers = {encode_rejection(document, each).identifier for each in (PACS, other)}
    identifiers.add(encode_rejection(replace(document, revision=2), PACS).identifier)
    assert len(identifiers) == 3


def test_where_nothing_was_sent_there_is_nothing_to_tell() -> None:
    with pytest.raises(NothingToTell, match="pacs has nothing of the draft"):
        encode_rejection(withdrawn(), PACS)


def test_a_draft_that_stands_is_not_rejected() -> None:
    with pytest.raises(InvalidOutput, match="not withdrawn"):
        encode_rejection(replace(withdrawn(SR), withdrawn_at=None), PACS)


def set_patient(note: Dataset) -> None:
    note.PatientID = "CANARY-OTHER"


def set_study(note: Dataset) -> None:
    note.StudyInstanceUID = "1.2.3"


def set_title(note: Dataset) -> None:
    note.ConceptNameCodeSequence[0].CodeValue = "113000"


def name_another(note: Dataset) -> None:
    note.ContentSequence[1].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.9"


def forget_one(note: Dataset) -> None:
    del note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (set_patient, "PatientID"),
        (set_study, "StudyInstanceUID"),
        (set_title, "ConceptNameCodeSequence"),
        (name_another, "ContentSequence"),
        (forget_one, "CurrentRequestedProcedureEvidenceSequence"),
    ],
)
def test_the_gate_lets_no_other_note_out(damage: Callable[[Dataset], None], field: str) -> None:
    document = withdrawn(SR, PDF)
    note = build_rejection(document, PACS)
    check_rejection(to_bytes(note), document)
    damage(note)
    with pytest.raises(InvalidOutput, match=rf"{field} is not what the draft says") as refused:
        check_rejection(to_bytes(note), document)
    assert "CANARY" not in str(refused.value)


def validate(folder: Path, headers: dict[str, dict[str, object]], *options: str) -> None:
    if not (VALIDATOR.exists() and shutil.which("dciodvfy") and shutil.which("dsrdump")):
        message = f"SR validators are missing: {VALIDATOR}, dicom3tools, dcmtk"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    for name, header in headers.items():
        (folder / f"{name}.dcm").write_bytes(encode_rejection(withdrawn(SR, PDF, PAGE, GSPS, **header), PACS).payload)
    files = sorted(folder.glob("*.dcm"))
    run = subprocess.run([VALIDATOR, *options, *files], capture_output=True, text=True, check=False, timeout=280)
    assert run.returncode == 0, run.stdout


def test_every_validator_is_content(tmp_path: Path) -> None:
    validate(tmp_path, {"requested": {"RequestAttributesSequence": [make_request()]}})


def test_the_quick_validators_are_content_with_what_real_senders_write(tmp_path: Path) -> None:
    japanese = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]}
    spoilt = {"PatientSex": "U", "PatientBirthDate": None, "StudyID": None, "AccessionNumber": None}
    headers: dict[str, dict[str, object]] = {"plain": {}, "japanese": japanese, "spoilt": spoilt}
    validate(tmp_path, headers, "--only", "dciodvfy,dsrdump")


def test_dcmtk_and_orthanc_store_a_note(tmp_path: Path) -> None:
    note = encode_rejection(withdrawn(SR, PDF), PACS)
    with storescp(tmp_path / "dcmtk") as port:
        to = DicomDestination(name="pacs", ae_title="ANY", host="127.0.0.1", port=port)
        assert StoreScu(to, "CXRNODE", DeliveryKind.REJECTION).send(note.payload).outcome is Outcome.DELIVERED
    with orthanc(tmp_path / "orthanc") as (port, _):
        to = DicomDestination(name="pacs", ae_title="TESTPACS", host="127.0.0.1", port=port)
        assert StoreScu(to, "CXRNODE", DeliveryKind.REJECTION).send(note.payload).outcome is Outcome.DELIVERED
