"""How a radiograph is shown to people."""

from pathlib import Path

import numpy as np
import pytest
from films import shared_data, write_dx
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.film import read_film

RAMP = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)


def _shown(path: Path, **elements: object) -> list[int]:
    return read_film(write_dx(path / "film.dcm", RAMP, **elements), 8).ravel().tolist()


def test_window_says_what_is_black_and_what_is_white(tmp_path: Path) -> None:
    shown = _shown(tmp_path, WindowCenter="2048", WindowWidth="1024")
    assert shown[:24] == [0] * 24  # up to 1472
    assert shown[-24:] == [255] * 24
    assert shown[32] == pytest.approx(128, abs=1)


def test_window_is_of_the_rescaled_values(tmp_path: Path) -> None:
    window = {"WindowCenter": "2048", "WindowWidth": "1024"}
    rescaled = {"WindowCenter": "3096", "WindowWidth": "2048", "RescaleSlope": "2", "RescaleIntercept": "-1000"}
    np.testing.assert_allclose(_shown(tmp_path, **rescaled), _shown(tmp_path, **window), atol=1)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": "60000", "WindowWidth": "2"}, {"WindowWidth": "0"}])
def test_without_a_window_that_shows_anything_all_is_shown(tmp_path: Path, window: dict[str, str]) -> None:
    shown = _shown(tmp_path, **window)
    assert (shown[0], shown[-1]) == (0, 255)
    assert len(set(shown)) > 50


def test_a_window_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    film = write_dx(tmp_path / "film.dcm", RAMP, WindowCenter="2048", WindowWidth="1024")
    whole = film.read_bytes()
    film.write_bytes(whole.replace(b"\x28\x00\x51\x10DS", b"\x28\x00\x51\x10D "))  # no VR of PS3.5 6.2
    assert film.read_bytes() != whole
    assert read_film(film, 8).ravel().tolist() == _shown(tmp_path)


def test_voi_lut_is_used_where_there_is_no_window(tmp_path: Path) -> None:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 12])
    lut.add_new("LUTData", "OW", np.where(np.arange(4096) < 2048, 0, 4095).astype("<u2").tobytes())
    shown = _shown(tmp_path, VOILUTSequence=Sequence([lut]))
    assert shown == [0] * 32 + [255] * 32


def test_monochrome1_is_shown_bright_where_its_values_are_low(tmp_path: Path) -> None:
    plain = np.array(_shown(tmp_path))
    assert (255 - plain).tolist() == _shown(tmp_path, PhotometricInterpretation="MONOCHROME1")


def test_a_large_film_is_made_smaller_and_keeps_its_form(tmp_path: Path) -> None:
    path = write_dx(tmp_path / "film.dcm", np.zeros((90, 60), np.uint16) + np.arange(60, dtype=np.uint16))
    assert read_film(path, 30).shape == (30, 20)
    assert read_film(path, 1000).shape == (90, 60)


def test_a_real_film_has_contrast() -> None:
    film = read_film(shared_data("cxr_dicom", "nih_pt61_effusion.dcm"), 400)
    assert film.std() > 40
