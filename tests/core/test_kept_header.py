"""What stays of a file whose image goes."""

from io import BytesIO
from pathlib import Path

import pytest
from films import dx_bytes
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.retention.kept_header import header_of


def test_pictures_do_not_stay(tmp_path: Path) -> None:
    """Neither pixels nor overlays (PS3.3 C.9.2)."""
    film = dcmread(BytesIO(dx_bytes()))
    film.add_new(0x60003000, "OW", bytes(2_000_000))
    film.save_as(tmp_path / "film.dcm")
    header = header_of(tmp_path / "film.dcm")
    assert header is not None
    kept = dcmread(BytesIO(header))
    del film[0x60000000:]
    assert (kept, kept.file_meta, len(header) < 10_000) == (film, film.file_meta, True)


def test_a_deflated_file_stays_whole(tmp_path: Path) -> None:
    film = dcmread(BytesIO(dx_bytes()))
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.save_as(tmp_path / "film.dcm")
    assert header_of(tmp_path / "film.dcm") == (tmp_path / "film.dcm").read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"no DICOM at all"])
def test_of_what_is_no_image_nothing_does(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "film.dcm").write_bytes(content)
    assert header_of(tmp_path / "film.dcm") is None


def test_a_disk_that_fails_is_said(tmp_path: Path) -> None:
    (tmp_path / "loop.dcm").symlink_to("loop.dcm")
    with pytest.raises(OSError, match="symbolic links"):
        header_of(tmp_path / "loop.dcm")
