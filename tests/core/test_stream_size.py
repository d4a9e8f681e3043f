"""The size that a compressed frame states itself."""

import struct
from io import BytesIO

import numpy as np
import pytest
from films import shared_data, shared_names
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from dicom_node.stream_size import StreamSize, read_size


def _stream(form: str, mode: str = "L", **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(np.zeros((30, 20), np.uint8)).convert(mode).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize(("mode", "components"), [("L", 1), ("RGB", 3)])
def test_a_stream_says_its_size(form: str, mode: str, components: int) -> None:
    assert read_size(_stream(form, mode)) == StreamSize(30, 20, components)  # JPEG 2000 in boxes


def test_a_codestream_without_boxes_says_its_size() -> None:
    assert read_size(_stream("JPEG2000", no_jp2=True)) == StreamSize(30, 20, 1)


def test_what_an_image_leaves_free_of_its_grid_is_not_counted() -> None:
    stream = bytearray(_stream("JPEG2000", no_jp2=True))
    struct.pack_into(">4I", stream, 8, 23, 34, 3, 4)
    assert read_size(bytes(stream)) == StreamSize(30, 20, 1)


def test_a_box_longer_than_four_bytes_can_say_is_passed_over() -> None:
    whole = _stream("JPEG2000")
    at = whole.index(b"jp2c") - 4
    long_box = struct.pack(">I4sQ", 1, b"free", 20) + bytes(4)
    assert read_size(whole[:at] + long_box + whole[at:]) == StreamSize(30, 20, 1)


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    whole = _stream("JPEG")
    assert read_size(whole[:2] + b"\xff\xff" + whole[2:]) == StreamSize(30, 20, 1)


@pytest.mark.parametrize("length", range(0, 24))
@pytest.mark.parametrize("stream", [_stream("JPEG"), _stream("JPEG2000"), _stream("JPEG2000", no_jp2=True)])
def test_what_says_no_size_is_refused(stream: bytes, length: int) -> None:
    with pytest.raises((ValueError, IndexError, struct.error)):
        read_size(stream[:length])


def test_what_is_no_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="no marker"):
        read_size(b"\xff\xd8 is no JPEG")


@pytest.mark.parametrize("name", shared_names("cxr_dicom"))
def test_the_streams_of_real_films_say_the_size_of_their_headers(name: str) -> None:
    ds = dcmread(shared_data(*name.split("/")))
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated or ds.file_meta.TransferSyntaxUID == RLELossless:
        pytest.skip("its pixels are no stream")
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    assert read_size(frame) == StreamSize(ds.Rows, ds.Columns, 1)
