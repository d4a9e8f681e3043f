from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import CLIPImageProcessorPil

from dicom_node.errors import UndecodablePixels
from workers.llavarad.preprocess import to_tensor


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width), dtype=np.uint8)


def reference(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.float32]:
    """Size and numbers by an implementation that is not ours. Only its crop is not used: it rounds otherwise."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": size_px}, do_center_crop=False, do_convert_rgb=True)
    rgb = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    whole: NDArray[np.float32] = processor(rgb, return_tensors="np")["pixel_values"][0]
    top, left = (round(Fraction(side - size_px, 2)) for side in whole.shape[1:])
    return whole[:, top : top + size_px, left : left + size_px]


@pytest.mark.parametrize(
    ("height", "width"),
    [(3056, 2544), (2021, 2539), (518, 518), (519, 518), (518, 521), (1024, 1024), (300, 200), (97, 411), (1841, 1955)],
)
def test_tensor_equals_the_reference_to_the_last_bit(height: int, width: int) -> None:
    pixels = noise(height, width)

    tensor = to_tensor(pixels, 518).tensor

    assert tensor.dtype == np.float32
    assert tensor.shape == (3, 518, 518)
    assert np.array_equal(tensor, reference(pixels, 518))


@settings(max_examples=60, deadline=None)
@given(height=st.integers(30, 240), width=st.integers(30, 240))
def test_tensor_equals_the_reference_at_any_size(height: int, width: int) -> None:
    pixels = noise(height, width)
    assert np.array_equal(to_tensor(pixels, 70).tensor, reference(pixels, 70))


@pytest.mark.parametrize("size", [(3056, 2544), (519, 518), (1024, 1024), (97, 411)])
def test_tensor_equals_the_whole_reference_where_the_crop_needs_no_rounding_up(size: tuple[int, int]) -> None:
    processor = CLIPImageProcessorPil(size={"shortest_edge": 518}, crop_size={"height": 518, "width": 518})
    pixels = noise(*size)
    theirs = processor(np.repeat(pixels[:, :, np.newaxis], 3, axis=2), return_tensors="np")["pixel_values"][0]
    assert np.array_equal(to_tensor(pixels, 518).tensor, theirs)


# torchvision's centre crop, which LLaVA-Rad was trained with, rounds halves to the even neighbour.
@pytest.mark.parametrize(("excess", "offset"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 4), (9, 4)])
def test_crop_rounds_half_to_even(excess: int, offset: int) -> None:
    rows = np.arange(56 + excess, dtype=np.uint8)
    pixels = np.repeat(rows[:, np.newaxis], 56, axis=1)

    first_row = to_tensor(pixels, 56).tensor[0, 0, 0]

    expected = to_tensor(np.full((56, 56), offset, dtype=np.uint8), 56).tensor[0, 0, 0]
    assert first_row == expected


def test_cropped_fraction_is_the_share_of_the_area_that_is_lost() -> None:
    assert to_tensor(noise(3056, 2544), 518).cropped_fraction == pytest.approx(1 - 518 / 622)
    assert to_tensor(noise(600, 600), 518).cropped_fraction == 0.0


def test_image_of_one_value_is_normalised_by_the_constants_of_clip() -> None:
    tensor = to_tensor(np.full((60, 60), 255, dtype=np.uint8), 56).tensor
    assert tensor[:, 0, 0] == pytest.approx([1.9303, 2.0749, 2.1459], abs=1e-4)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), dtype=np.uint8),
        np.zeros((4, 4), dtype=np.uint16),
        np.zeros((0, 4), dtype=np.uint8),
        np.zeros((1, 60_000), dtype=np.uint8),
    ],
    ids=["colour", "16 bit", "empty", "strip"],
)
def test_what_is_no_grey_radiograph_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(UndecodablePixels):
        to_tensor(pixels, 56)
