"""The draft as an Encapsulated PDF."""

import subprocess
from collections import Counter
from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest
from foreign import require_peer
from page_samples import PACS, TWO_MAPS, draft, encoded, pdf_of
from pydicom import dcmread
from report_samples import CHECKS, FINDINGS, FLAGS, MODEL, SYNTHETIC_MODEL

from dicom_node.attention import CAPTION
from dicom_node.errors import InvalidOutput
from dicom_node.product import DISCLAIMER
from dicom_node.states import DeliveryKind
from integration.document import ReportDocument
from integration.page_raster import read_words
from integration.page_text import write_page
from integration.pdf_gate import check_pdf
from integration.pdf_report import encode_pdf

LONG = "\n".join(f"Sentence number {number} of a draft that does not end." for number in range(200))


def _pages(document: ReportDocument) -> list[str]:
    """The words of each page, one blank between them."""
    return [" ".join(page.split()) for page in read_words(pdf_of(encoded(DeliveryKind.PDF, document)))]


def test_it_is_an_unverified_document_about_the_film(tmp_path: Path) -> None:
    ds = encoded(DeliveryKind.PDF, draft(tmp_path))
    assert (ds.VerificationFlag, ds.BurnedInAnnotation, ds.ConversionType) == ("UNVERIFIED", "YES", "SYN")
    assert ds.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert "AI DRAFT" in ds.DocumentTitle
    assert len(ds.EncapsulatedDocument) % 2 == 0
    (source,) = ds.SourceInstanceSequence
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121324"


def test_it_says_all_that_the_draft_says(tmp_path: Path) -> None:
    words = " ".join(_pages(draft(tmp_path, flags=FLAGS)))
    for each in (DISCLAIMER, *CHECKS, "Cough, fever", *FINDINGS.split("\n"), MODEL.name, MODEL.digest[:16]):
        assert each in words, each
    for each in ("CANARY, PHI Anna", "CANARY-ID", "CANARY-ACC", "2026-01-02 03:04", "2026-08-01 12:30 +0200"):
        assert each in words


@pytest.mark.parametrize(("model", "banner"), [(MODEL, ""), (SYNTHETIC_MODEL, "SYNTHETIC TEST MODEL: ")])
def test_every_page_says_draft_whose_and_which_of_how_many(tmp_path: Path, model: object, banner: str) -> None:
    pages = _pages(draft(tmp_path, model=model, findings=LONG))
    assert len(pages) >= 5
    for number, page in enumerate(pages, 1):
        assert page.startswith(f"{banner}AI DRAFT, NOT REVIEWED")
        assert "CANARY, PHI Anna · CANARY-ID" in page
        assert f"page {number} of {len(pages)}" in page
    lines = Counter(line for page in pages for line in LONG.split("\n") if f"{line} " in f"{page} ")
    assert lines == Counter(LONG.split("\n"))


def test_a_study_without_a_named_patient_says_so(tmp_path: Path) -> None:
    page = _pages(draft(tmp_path, header={"PatientName": "", "PatientID": None}))[0]
    assert "Patient not stated" in page
    assert "Patient ID not stated" in page


def test_each_sentence_has_its_picture_and_the_caution(tmp_path: Path) -> None:
    findings = "The heart is normal. No effusion."
    without, with_maps = (_pages(draft(tmp_path, findings=findings, attention=maps)) for maps in (None, TWO_MAPS))
    assert len(with_maps) == len(without) + 1
    assert CAPTION in with_maps[-1]
    assert "The heart is normal. No effusion." in with_maps[-1]


def test_words_that_a_library_might_take_for_its_own_are_drawn_as_they_are(tmp_path: Path) -> None:
    text = "Seen {nb} times **not bold** __nor this__ \\x41."
    assert text in " ".join(_pages(draft(tmp_path, findings=text)))


def test_maps_that_do_not_fit_the_sentences_are_left_out(tmp_path: Path) -> None:
    findings = "One. Two. Three."
    without, with_maps = (_pages(draft(tmp_path, findings=findings, attention=maps)) for maps in (None, TWO_MAPS))
    assert with_maps == without
    assert findings in " ".join(with_maps)


def test_gate_refuses_pages_that_do_not_say_draft(tmp_path: Path) -> None:
    document = draft(tmp_path)
    payload = encode_pdf(document, PACS).payload
    text = write_page(document)
    other = write_page(draft(tmp_path, findings="Another text, quite unlike the first."))

    check_pdf(payload, document, text)
    with pytest.raises(InvalidOutput, match="letters of the draft"):
        check_pdf(payload, document, other)
    with pytest.raises(InvalidOutput, match="does not say whose"):
        check_pdf(payload, document, write_page(draft(tmp_path, header={"PatientName": "QUITE^OTHER^XYZ"})))


def test_dcmtk_takes_the_pdf_out_again(tmp_path: Path) -> None:
    file, out = tmp_path / "report.dcm", tmp_path / "report.pdf"
    file.write_bytes(encode_pdf(draft(tmp_path), PACS).payload)

    subprocess.run([require_peer("dcm2pdf"), file, out], check=True, timeout=60)

    with pypdfium2.PdfDocument(out) as document:
        assert document.get_metadata_value("Title") == "AI DRAFT, NOT REVIEWED"
        assert len(document) >= 1
    assert out.read_bytes().rstrip(b"\0") == pdf_of(dcmread(BytesIO(file.read_bytes()))).rstrip(b"\0")
