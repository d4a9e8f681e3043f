"""A film whose header says that it is mirrored or turned is never read: its sides would be wrong."""

from pathlib import Path

import pytest
from films import dx_bytes
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.errors import InvalidHeader
from workers.hanging import negative, turned


@pytest.mark.parametrize(
    ("orientation", "how"),
    [
        (["L", "F"], ""),
        (["LA", "FA"], ""),
        (None, ""),
        ("", ""),
        (["", ""], ""),
        (["R", "F"], "rows to R, columns to F"),
        (["L", "H"], "rows to L, columns to H"),
        (["F", "L"], "rows to F, columns to L"),
        (["P", "F"], "rows to P, columns to F"),
        ("L", "its orientation is not in letters"),
        (["CANARY^NAME", "F"], "its orientation is not in letters"),
    ],
)
def test_only_a_film_with_the_left_on_its_right_is_read(orientation: object, how: str, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(dx_bytes(PatientOrientation=orientation))
    assert turned(film) == how


def test_an_orientation_that_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    film, whole = tmp_path / "film.dcm", dx_bytes(PatientOrientation=["L", "F"])
    film.write_bytes(whole.replace(b"\x20\x00\x20\x00CS", b"\x20\x00\x20\x00C "))  # no VR of PS3.5 6.2
    assert film.read_bytes() != whole
    with pytest.raises(InvalidHeader, match=r"\(0020,0020\) Patient Orientation cannot be parsed"):
        turned(film)


@pytest.mark.parametrize(
    ("slope", "is_negative"),
    [(None, False), ("", False), ("1", False), ("0.5", False), ("-1", True), ("-0.0008", True), (["-1", "1"], True)],
)
def test_a_film_that_is_shown_as_a_negative_of_what_is_stored_is_not_read(
    slope: object, is_negative: bool, tmp_path: Path
) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(dx_bytes(RescaleSlope=slope))
    assert negative(film) == ("its rescale slope is below 0" if is_negative else "")


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize(
    ("table", "how"), [((0, 300, 4095), ""), ((4095, 300, 0), "its modality LUT descends"), ((7, 7), ""), ((9,), "")]
)
def test_a_film_whose_modality_lut_descends_is_not_read(
    table: tuple[int, ...], how: str, vr: str, tmp_path: Path
) -> None:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [len(table), 0, 16], "US"
    as_bytes = b"".join(value.to_bytes(2, "little") for value in table)
    item.add_new("LUTData", vr, list(table) if vr == "US" else as_bytes)
    film = tmp_path / "film.dcm"
    film.write_bytes(dx_bytes(ModalityLUTSequence=Sequence([item])))
    assert negative(film) == how


def test_a_modality_lut_without_data_is_none(tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(dx_bytes(ModalityLUTSequence=Sequence([Dataset()])))
    assert negative(film) == ""
