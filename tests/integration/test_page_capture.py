"""The film and the draft on one Secondary Capture image."""

from pathlib import Path

import numpy as np
from page_samples import draft, encoded
from report_samples import SYNTHETIC_MODEL

from dicom_node.film import read_film
from dicom_node.states import DeliveryKind
from integration.capture_layout import draw_capture
from integration.page_raster import read_words
from integration.page_text import write_page

PAGE = DeliveryKind.PAGE


def test_it_is_a_derived_grey_picture_with_text_in_it(tmp_path: Path) -> None:
    ds = encoded(PAGE, draft(tmp_path))
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert (ds.BurnedInAnnotation, ds.ConversionType, ds.BodyPartExamined) == ("YES", "WSD", "CHEST")
    assert (ds.PhotometricInterpretation, ds.BitsStored) == ("MONOCHROME2", 8)
    assert ds.pixel_array.shape == (ds.Rows, ds.Columns)


def test_film_is_at_the_left_and_bright_letters_on_black_at_the_right(tmp_path: Path) -> None:
    pixels = encoded(PAGE, draft(tmp_path)).pixel_array
    left, right = np.array_split(pixels[200:-200], 2, axis=1)
    assert len(np.unique(left)) > 100  # the gradient of the film
    assert np.median(right) == 0
    assert right.max() > 200


def test_it_grows_with_the_draft_and_says_all_of_it(tmp_path: Path) -> None:
    short, long = draft(tmp_path), draft(tmp_path, findings="\n".join(f"Line {number}." for number in range(120)))
    assert encoded(PAGE, long).Rows > 2 * encoded(PAGE, short).Rows


def test_it_says_what_it_is_at_head_and_foot(tmp_path: Path) -> None:
    document = draft(tmp_path, model=SYNTHETIC_MODEL)
    (words,) = read_words(draw_capture(write_page(document), read_film(document.image, 64), document.drafted_at))
    assert words.count("SYNTHETIC TEST MODEL: AI DRAFT, NOT REVIEWED") == 2
    assert "page 1 of 1" in words
