"""A file of which the end is missing is not taken: the whole one, when it comes, would be a second version of it."""

import struct
from io import BytesIO

import pytest
from films import dx_bytes
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from test_plain_elements import by_pydicom

from dicom_node.errors import InvalidHeader
from dicom_node.receive.header import read_header

FRAGMENT_BYTES, FRAMES = 1024, 3
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def encapsulated() -> bytes:
    film = dcmread(BytesIO(dx_bytes()))
    film.file_meta.TransferSyntaxUID = RLELossless
    film.NumberOfFrames = FRAMES
    film.PixelData = encapsulate([bytes(FRAGMENT_BYTES)] * FRAMES)
    file = BytesIO()
    film.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("missing", [1, 1000])
def test_pixels_that_are_not_all_there(syntax: UID, missing: int) -> None:
    film = dx_bytes(transfer_syntax=syntax)
    assert read_header(BytesIO(film)).has_pixels
    with pytest.raises(InvalidHeader, match="cut short"):
        read_header(BytesIO(film[:-missing]))


def test_a_value_that_is_not_all_there() -> None:
    film = dx_bytes(ImageComments="x" * 5_000)
    middle = film.index(b"x" * 5_000) + 2_000
    with pytest.raises(InvalidHeader, match="cut short"):
        read_header(BytesIO(film[:middle]))


def test_a_fragment_that_is_not_all_there() -> None:
    film = encapsulated()
    assert film.endswith(END)
    assert read_header(BytesIO(film)).has_pixels
    for missing in (len(END) + 1, len(END) + FRAGMENT_BYTES + 4, len(END) + FRAGMENT_BYTES + 20):
        with pytest.raises(InvalidHeader, match="cut short"):
            read_header(BytesIO(film[:-missing]))


def test_whoever_leaves_out_the_end_of_the_fragments_is_not_refused() -> None:
    """There are such senders; all frames are there."""
    assert read_header(BytesIO(encapsulated()[: -len(END)])).has_pixels


def test_both_readers_look_at_the_end_first() -> None:
    """A file that ends as pixels do is not walked through: they would not agree on one that was made to be odd."""
    film = bytearray(encapsulated())
    first = film.index(b"\xfe\xff\0\xe0", film.index(b"\xe0\x7f\x10\0"))
    film[first + 4 : first + 8] = b"\xff\xff\xff\x7f"
    assert read_header(BytesIO(film)).has_pixels
    assert by_pydicom(bytes(film)) == read_header(BytesIO(film))


def test_what_follows_the_pixels_may_stand_there() -> None:
    film = dcmread(BytesIO(encapsulated()))
    film.DataSetTrailingPadding = bytes(100)
    file = BytesIO()
    film.save_as(file)
    assert read_header(BytesIO(file.getvalue())).has_pixels


def test_a_deflated_film_is_as_long_as_it_says() -> None:
    film = dcmread(BytesIO(dx_bytes()))
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = BytesIO()
    film.save_as(file)
    assert read_header(BytesIO(file.getvalue())).has_pixels
    with pytest.raises(InvalidHeader):
        read_header(BytesIO(file.getvalue()[:-100]))
