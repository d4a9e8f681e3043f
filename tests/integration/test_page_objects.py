"""What holds for everything that is made for eyes: PDF, Secondary Capture, presentation state."""

import logging
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from films import shared_data, shared_names
from foreign import require_peer
from page_samples import EYES, PACS, TWO_MAPS, draft, draft_of, encoded
from pydicom import dcmread
from pydicom.dataset import Dataset
from report_samples import FLAGS, SHARED, SYNTHETIC_MODEL

from dicom_node.errors import InvalidOutput
from dicom_node.states import DeliveryKind
from integration.capture_gate import check_capture
from integration.document import ReportDocument
from integration.objects import encoder
from integration.page_fonts import require_drawable
from integration.page_text import write_page
from integration.pdf_gate import check_pdf
from integration.presentation_gate import check_presentation
from integration.presentation_text import write_boxes

VALIDATOR = SHARED / "tools" / "validate_sr" / "validate_sr.sh"
KINDS = pytest.mark.parametrize("kind", EYES)
SERIES = {DeliveryKind.PDF: 9903, DeliveryKind.PAGE: 9904, DeliveryKind.GSPS: 9905}
MODALITIES = {DeliveryKind.PDF: "DOC", DeliveryKind.PAGE: "OT", DeliveryKind.GSPS: "PR"}


@KINDS
def test_header_is_the_patient_s_and_the_study_s_and_says_draft(tmp_path: Path, kind: DeliveryKind) -> None:
    document = draft(tmp_path)
    ds = encoded(kind, document)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID", "StudyDate"):
        assert ds[keyword].value == document.evidence[keyword].value, keyword
    assert (ds.SeriesNumber, ds.Modality) == (SERIES[kind], MODALITIES[kind])
    assert ds.SeriesDescription.startswith("AI DRAFT")
    assert "not reviewed" in ds.SeriesDescription
    assert (ds.Manufacturer, ds.ContentQualification) == ("cxrnode", "RESEARCH")


@KINDS
def test_equal_drafts_give_equal_bytes_and_another_revision_another_object(tmp_path: Path, kind: DeliveryKind) -> None:
    document = draft(tmp_path, attention=TWO_MAPS)
    encode = encoder(kind)

    first, again = encode(document, PACS), encode(replace(document), PACS)
    other = encode(replace(document, revision=2), PACS)

    assert first == again
    assert first.identifier.encode() in first.payload
    assert other.identifier != first.identifier
    assert _series(other.payload) == _series(first.payload)


def test_each_kind_has_identifiers_of_its_own(tmp_path: Path) -> None:
    document = draft(tmp_path)
    payloads = [encoder(kind)(document, PACS) for kind in (*EYES, DeliveryKind.SR)]
    assert len({each.identifier for each in payloads}) == 4
    assert len({_series(each.payload) for each in payloads}) == 4


@KINDS
def test_draft_of_a_synthetic_model_says_so_in_the_list_of_series(tmp_path: Path, kind: DeliveryKind) -> None:
    synthetic, real = (encoded(kind, draft(tmp_path, **more)) for more in ({"model": SYNTHETIC_MODEL}, {}))
    assert synthetic.SeriesDescription.startswith("SYNTHETIC TEST MODEL, AI DRAFT")
    assert len(synthetic.SeriesDescription) <= 64  # LO
    assert synthetic.SeriesInstanceUID != real.SeriesInstanceUID


@KINDS
def test_nothing_of_the_patient_is_logged(tmp_path: Path, kind: DeliveryKind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    encoded(kind, draft(tmp_path))
    assert "CANARY" not in caplog.text


@KINDS
def test_a_draft_without_words_is_refused(tmp_path: Path, kind: DeliveryKind) -> None:
    with pytest.raises(InvalidOutput, match="findings"):
        encoder(kind)(draft(tmp_path, findings=" \n"), PACS)


@pytest.mark.parametrize("kind", [DeliveryKind.PDF, DeliveryKind.PAGE])
@pytest.mark.parametrize("text", ["No effusion \U0001f600\ua000.", "ไม่มี"])
def test_what_the_fonts_cannot_draw_is_refused_and_not_quoted(tmp_path: Path, kind: DeliveryKind, text: str) -> None:
    document = draft(tmp_path, findings=text)
    with pytest.raises(InvalidOutput, match="cannot draw") as raised:
        encoder(kind)(document, PACS)
    assert not set(text) & set("\ua000ไ") & set(str(raised.value))
    encoder(DeliveryKind.SR)(document, PACS)  # still goes


@pytest.mark.parametrize(
    "text",
    [
        "Größe — ≤ 3 µm",
        "Плевральный выпот",
        "Υπεζωκοτική",
        "תפליט",
        "انصباب",
        "胸水なし 气胸",
        "흉수 없음",
        "é = e\u0301",
    ],
)
def test_the_scripts_of_most_hospitals_can_be_drawn(tmp_path: Path, text: str) -> None:
    document = draft(tmp_path, indication=text)
    require_drawable(write_page(document).texts())
    assert encoded(DeliveryKind.PDF, document).MIMETypeOfEncapsulatedDocument == "application/pdf"


Change = Callable[[Dataset], object]
MUTATIONS: dict[str, tuple[str, Change]] = {
    "other patient": ("PatientID", lambda ds: setattr(ds, "PatientID", "P0002")),
    "other name": ("PatientName", lambda ds: setattr(ds, "PatientName", "OTHER^PHI")),
    "other study": ("StudyInstanceUID", lambda ds: setattr(ds, "StudyInstanceUID", "1.2.3")),
    "other accession": ("AccessionNumber", lambda ds: setattr(ds, "AccessionNumber", "X")),
    "other maker": ("Manufacturer", lambda ds: setattr(ds, "Manufacturer", "Somebody")),
    "cleared": ("ContentQualification", lambda ds: setattr(ds, "ContentQualification", "PRODUCT")),
    "no warning in the list": ("SeriesDescription", lambda ds: setattr(ds, "SeriesDescription", "CXR report")),
    "other object": ("SOPInstanceUID", lambda ds: setattr(ds, "SOPInstanceUID", "1.2.3")),
}


@KINDS
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_gate_refuses_what_is_not_the_draft(tmp_path: Path, kind: DeliveryKind, mutation: str) -> None:
    field, change = MUTATIONS[mutation]
    document = draft(tmp_path)
    with pytest.raises(InvalidOutput, match=field):
        _check(kind, document, _damaged(kind, document, change))


@KINDS
def test_gate_refuses_another_image(tmp_path: Path, kind: DeliveryKind) -> None:
    document = draft(tmp_path)

    def rename(ds: Dataset) -> None:
        if kind is DeliveryKind.GSPS:
            references = ds.GraphicAnnotationSequence[0].ReferencedImageSequence
        else:
            references = ds.SourceInstanceSequence if kind is DeliveryKind.PDF else ds.SourceImageSequence
        references[0].ReferencedSOPInstanceUID = "1.2.3"

    with pytest.raises(InvalidOutput, match="image"):
        _check(kind, document, _damaged(kind, document, rename))


@KINDS
@pytest.mark.parametrize("name", shared_names("cxr_dicom"))
def test_dciodvfy_finds_no_error_in_what_is_made_of_real_films(tmp_path: Path, kind: DeliveryKind, name: str) -> None:
    document = draft_of(shared_data(name), findings="Clear lungs. No effusion.", flags=FLAGS, attention=TWO_MAPS)
    path = tmp_path / "object.dcm"
    path.write_bytes(encoder(kind)(document, PACS).payload)
    found = subprocess.run([require_peer("dciodvfy"), "-new", path], capture_output=True, check=False, timeout=60)
    assert [line for line in found.stderr.splitlines() if line.startswith(b"Error")] == []


def test_all_validators_find_nothing_in_any_kind(tmp_path: Path) -> None:
    if not (VALIDATOR.exists() and shutil.which("dciodvfy") and shutil.which("dcmpschk")):
        pytest.skip(f"validators are missing: {VALIDATOR}, dicom3tools, dcmtk")
    document = draft(tmp_path, model=SYNTHETIC_MODEL, attention=TWO_MAPS)
    files = [tmp_path / f"{kind}.dcm" for kind in EYES]
    for kind, file in zip(EYES, files, strict=True):
        file.write_bytes(encoder(kind)(document, PACS).payload)
    found = subprocess.run([VALIDATOR, *files], capture_output=True, text=True, check=False, timeout=280)
    assert found.returncode == 0, found.stdout.replace("CANARY", "…")


def _series(payload: bytes) -> str:
    return str(dcmread(BytesIO(payload)).SeriesInstanceUID)


def _check(kind: DeliveryKind, document: ReportDocument, payload: bytes) -> None:
    if kind is DeliveryKind.PDF:
        check_pdf(payload, document, write_page(document))
    elif kind is DeliveryKind.PAGE:
        check_capture(payload, document, dcmread(BytesIO(payload)).pixel_array)
    else:
        check_presentation(payload, document, write_boxes(document))


def _damaged(kind: DeliveryKind, document: ReportDocument, change: Change) -> bytes:
    ds = encoded(kind, document)
    change(ds)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
