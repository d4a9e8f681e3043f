"""How long the segments of an RLE frame become."""

import struct

import pytest
from films import shared_data
from pydicom import dcmread
from pydicom.encaps import generate_frames

from dicom_node.rle_length import longest_segment

COPY, REPEAT, NOTHING = b"\x02abc", b"\xfea", b"\x80"  # three bytes, three times one, none


def _frame(*segments: bytes) -> bytes:
    begins, at = [], 64
    for segment in segments:
        begins.append(at)
        at += len(segment)
    return struct.pack("<16L", len(segments), *begins, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize(
    ("segments", "length"),
    [
        ((COPY,), 3),
        ((REPEAT,), 3),
        ((NOTHING,), 0),
        ((COPY + NOTHING + REPEAT + b"\0",), 7),  # padded to even length, and that reads as one more to copy
        ((b"\x81a" * 10,), 1280),
        ((COPY, REPEAT * 2), 6),
        ((REPEAT * 2, COPY), 6),
        ((), 0),
    ],
)
def test_the_longest_segment_is_measured(segments: tuple[bytes, ...], length: int) -> None:
    assert longest_segment(_frame(*segments), limit=10_000) == length


def test_nothing_is_counted_far_beyond_the_limit() -> None:
    assert 1_000 < longest_segment(_frame(b"\x81a" * 1_000_000), limit=1_000) < 1_200


def test_a_frame_without_a_header_is_refused() -> None:
    with pytest.raises(struct.error):
        longest_segment(b"short", limit=1)


@pytest.mark.parametrize("name", ["non_chest/RG3_RLE.dcm", "transfer_syntax/MR_small_RLE.dcm"])
def test_a_segment_of_a_published_film_holds_a_byte_of_each_pixel(name: str) -> None:
    ds = dcmread(shared_data(*name.split("/")))
    frame, pixels = next(generate_frames(ds.PixelData, number_of_frames=1)), ds.Rows * ds.Columns
    assert pixels <= longest_segment(frame, limit=2 * pixels) <= pixels + 2
