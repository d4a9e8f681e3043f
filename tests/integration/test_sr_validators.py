"""Every kind of SR, of every film and every character set, before independent checkers."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydicom.dataset import Dataset
from report_samples import (
    FLAGS,
    LABELS,
    PACS,
    SHARED,
    SYNTHETIC_MODEL,
    as_received,
    make_code,
    make_document,
    make_header,
    make_request,
    read_real,
)
from sr_validators import QUICK, find_errors

from integration.destinations import Encoded
from integration.document import Predecessor, ReportDocument
from integration.findings_report import encode_findings
from integration.sr_header import SR_CLASSES
from integration.structured_report import encode_sr

FILMS = sorted((SHARED / "data" / "cxr_dicom").glob("*.dcm"))
WITHOUT_STUDY = {"chrSQEncoding.dcm", "chrSQEncoding1.dcm", "empty_charset_LEI.dcm"}
CHARSETS = [path for path in sorted((SHARED / "data" / "charset").glob("*.dcm")) if path.name not in WITHOUT_STUDY]
OF_CLASS = {each: PACS.model_copy(update={"sr_class": each}) for each in SR_CLASSES}
KINDS: dict[str, Callable[[ReportDocument], Encoded]] = {
    **{each: partial(encode_sr, destination=pacs) for each, pacs in OF_CLASS.items()},
    "findings": partial(encode_findings, destination=PACS),
}
SYNTHETIC = {
    "plain": make_header(),
    "request": make_header(
        RequestAttributesSequence=[make_request()], ProcedureCodeSequence=[make_code("CXR", "99SITE", "Chest PA")]
    ),
    "japanese": make_header(
        SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"
    ),
    "utf-8": make_header(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Zoë"),
    "sparse": make_header(
        PatientName=None, PatientID=None, PatientBirthDate=None, PatientSex=None, PatientAge=None, StudyDate=None,
        StudyTime=None, StudyID=None, AccessionNumber=None, StudyDescription=None, ReferringPhysicianName=None,
    ),
    "zone": make_header(TimezoneOffsetFromUTC="-0530", PatientSex="O"),
}  # fmt: skip

pytestmark = pytest.mark.timeout(1_200)  # for each file a new Java and several new Pythons
kinds = pytest.mark.parametrize("kind", KINDS)


def _write(folder: Path, kind: str, headers: Mapping[str, Dataset], **changes: object) -> list[Path]:
    files = [folder / f"{name}.dcm" for name in headers]
    for file, header in zip(files, headers.values(), strict=True):
        file.write_bytes(KINDS[kind](make_document(header, labels=LABELS, **changes)).payload)
    return files


@kinds
def test_synthetic_headers_give_no_errors(kind: str, tmp_path: Path) -> None:
    files = _write(tmp_path, kind, SYNTHETIC, time_zone=ZoneInfo("Asia/Tokyo"))
    assert find_errors(files, *QUICK) == []


@kinds
def test_all_that_a_report_can_say_gives_no_errors_by_any_checker(kind: str, tmp_path: Path) -> None:
    first = make_document()
    before = Predecessor(1, first.drafted_at, SR_CLASSES["basic"], "1.2.826.0.1.1", "1.2.826.0.1.2")
    said = {
        "findings": "Größe ≤ 3 mm.\n\nNo effusion.",
        "flags": FLAGS,
        "model": SYNTHETIC_MODEL,
    }
    files = _write(tmp_path, kind, {"request": as_received(SYNTHETIC["request"])}, predecessor=before, **said)
    assert find_errors(files) == []


@kinds
@pytest.mark.parametrize("paths", [FILMS, CHARSETS], ids=["films", "charset"])
def test_published_headers_give_no_errors(kind: str, paths: list[Path], tmp_path: Path) -> None:
    if not paths:
        pytest.skip(f"{SHARED}/data is absent: the published files are not in the project")
    files = _write(tmp_path, kind, {path.stem: read_real(path) for path in paths}, findings="Größe ≤ 3 mm.")
    assert find_errors(files, *QUICK) == []
