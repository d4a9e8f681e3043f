"""Pictures as the training images were made, or a loud refusal."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import gradient, shared_data, shared_names, write_dx
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from dicom_node.errors import UndecodablePixels
from workers import pixels
from workers.pixels import equalise_histogram, read_pixels


def grey(*rows: list[int]) -> NDArray[np.uint8]:
    return np.array(rows, dtype=np.uint8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # N = 4, h[first] = 1: scale 85, so the second quarter is 85, and so on
        (grey([0, 1], [2, 3]), grey([0, 85], [170, 255])),
        # two levels become black and white, whatever they were
        (grey([7, 7, 9, 9]), grey([0, 0, 255, 255])),
        # N = 5, h[first] = 2: scale 85; 10 -> 1 * 85, 200 -> 3 * 85
        (grey([5, 5, 10, 200, 200]), grey([0, 0, 85, 255, 255])),
        # N = 11, h[first] = 1: scale 25.5; 1 -> 25.5, which is rounded to even: 26; 2 -> 76.5 -> 76; 3 -> 255
        (grey([0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3]), grey([0, 26, 76, 76, 255, 255, 255, 255, 255, 255, 255])),
        # one level stays
        (grey([4, 4], [4, 4]), grey([4, 4], [4, 4])),
        (grey([255]), grey([255])),
    ],
)
def test_equalise_histogram(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(equalise_histogram(before), after)


def before_jpeg(path: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """The picture after inversion, before equalisation and JPEG."""
    seen: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(pixels, "equalise_histogram", lambda picture: seen.append(picture) or picture)
    read_pixels(path)
    return seen[0]


class TestScaling:
    def test_minimum_and_maximum_become_0_and_255_and_between_is_truncated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = np.array([[100, 101, 102, 103], [100, 100, 104, 107]], dtype=np.uint16)
        picture = before_jpeg(write_dx(tmp_path / "film.dcm", stored), monkeypatch)
        # n / 7 * 255: 36.4, 72.9, 109.3, 145.7, 255
        np.testing.assert_array_equal(picture, grey([0, 36, 72, 109], [0, 0, 145, 255]))

    def test_it_equals_the_recipe_in_double_precision(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stored = np.random.default_rng(1).integers(3, 4011, (60, 70), dtype=np.uint16)
        shifted = stored.astype(np.float64) - stored.min()
        expected = (shifted / shifted.max() * 255).astype(np.uint8)
        np.testing.assert_array_equal(before_jpeg(write_dx(tmp_path / "film.dcm", stored), monkeypatch), expected)

    def test_window_and_rescale_change_nothing(self, tmp_path: Path) -> None:
        plain = read_pixels(write_dx(tmp_path / "plain.dcm"))
        elements = {"WindowCenter": 500, "WindowWidth": 10, "RescaleSlope": -2, "RescaleIntercept": 7}
        np.testing.assert_array_equal(read_pixels(write_dx(tmp_path / "windowed.dcm", **elements)), plain)

    def test_signed_values_keep_their_order(self, tmp_path: Path) -> None:
        signed = (gradient().astype(np.int16) - 2000).astype(np.int16)
        plain = read_pixels(write_dx(tmp_path / "plain.dcm"))
        np.testing.assert_array_equal(read_pixels(write_dx(tmp_path / "signed.dcm", signed)), plain)

    def test_the_full_signed_range_does_not_overflow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stored = np.array([[-32768, 0, 32767]], dtype=np.int16)
        path = write_dx(tmp_path / "film.dcm", stored, BitsStored=16, HighBit=15)
        np.testing.assert_array_equal(before_jpeg(path, monkeypatch), grey([0, 127, 255]))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16])
    def test_bits_above_the_high_bit_are_ignored(self, tmp_path: Path, dtype: Any) -> None:
        stored = (gradient() // 2).astype(np.uint16)  # positive also when signed
        soiled = (stored | np.uint16(0xA000)).astype(dtype)
        plain = read_pixels(write_dx(tmp_path / "plain.dcm", stored.astype(dtype)))
        np.testing.assert_array_equal(read_pixels(write_dx(tmp_path / "soiled.dcm", soiled)), plain)

    def test_monochrome1_is_inverted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = before_jpeg(write_dx(tmp_path / "2.dcm"), monkeypatch)
        inverted = before_jpeg(write_dx(tmp_path / "1.dcm", PhotometricInterpretation="MONOCHROME1"), monkeypatch)
        np.testing.assert_array_equal(inverted, 255 - plain)

    def test_presentation_lut_shape_is_not_consulted(self, tmp_path: Path) -> None:
        plain = read_pixels(write_dx(tmp_path / "plain.dcm"))
        inverse = write_dx(tmp_path / "inverse.dcm", PresentationLUTShape="INVERSE")
        np.testing.assert_array_equal(read_pixels(inverse), plain)

    def test_the_picture_went_through_jpeg(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_dx(tmp_path / "film.dcm", np.random.default_rng(2).integers(0, 4096, (64, 64), dtype=np.uint16))
        picture = read_pixels(path)
        file = BytesIO()
        Image.fromarray(equalise_histogram(before_jpeg(path, monkeypatch))).save(file, "JPEG", quality=95)
        with Image.open(file) as expected:
            np.testing.assert_array_equal(picture, np.array(expected))

    def test_the_picture_is_a_writable_matrix_of_its_own(self, tmp_path: Path) -> None:
        picture = read_pixels(write_dx(tmp_path / "film.dcm"))
        assert picture.shape == (48, 40)
        assert picture.dtype == np.uint8
        assert picture.flags.writeable


@pytest.mark.parametrize(
    "transfer_syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_native_encoding_gives_the_same_picture(tmp_path: Path, transfer_syntax: str) -> None:
    plain = read_pixels(write_dx(tmp_path / "plain.dcm"))
    other = write_dx(tmp_path / "other.dcm", transfer_syntax=transfer_syntax)
    np.testing.assert_array_equal(read_pixels(other), plain)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"PixelData": None}, r"\(7FE0,0010\) Pixel Data is missing"),
    ({"PixelData": b""}, r"\(7FE0,0010\) Pixel Data is missing"),
    ({"PixelData": gradient().tobytes()[:-2]}, "ValueError while decoding"),
    ({"PixelData": gradient().tobytes() * 2}, "decoded to"),
    ({"NumberOfFrames": 2, "PixelData": gradient().tobytes() * 2}, r"\(0028,0008\) Number of Frames is above 1"),
    ({"SamplesPerPixel": 3}, r"\(0028,0002\) Samples per Pixel is 3, expected 1"),
    ({"PhotometricInterpretation": "RGB"}, r"is another word, expected MONOCHROME1 or MONOCHROME2"),
    ({"PhotometricInterpretation": None}, r"\(0028,0004\) Photometric Interpretation is missing"),
    ({"BitsAllocated": 32}, r"\(0028,0100\) Bits Allocated is 32, expected 8 or 16"),
    ({"BitsStored": 18}, r"\(0028,0101\) Bits Stored is 18, expected 1–16"),
    ({"BitsStored": 0}, r"\(0028,0101\) Bits Stored is 0, expected 1–16"),
    ({"HighBit": 15}, r"\(0028,0102\) High Bit is 15, expected 11"),
    ({"PixelRepresentation": 2}, r"\(0028,0103\) Pixel Representation is 2, expected 0 or 1"),
    ({"Rows": 0}, "image of 0 x 40"),
    ({"Rows": 65535, "Columns": 65535}, "image of 65535 x 65535, expected 1 to 80000000 pixels"),
    ({"Rows": None}, "while decoding"),
]


@pytest.mark.parametrize(("elements", "words"), REFUSALS)
def test_what_is_no_grey_frame_is_refused_by_name(tmp_path: Path, elements: dict[str, Any], words: str) -> None:
    with pytest.raises(UndecodablePixels, match=words) as caught:
        read_pixels(write_dx(tmp_path / "film.dcm", **elements))
    assert "CANARY" not in str(caught.value)


def test_a_constant_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UndecodablePixels, match="every pixel has the value 7"):
        read_pixels(write_dx(tmp_path / "film.dcm", np.full((8, 8), 7, np.uint16)))


def test_a_missing_file_is_the_disk_s_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_pixels(tmp_path / "absent.dcm")


def test_the_decoder_s_own_error_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UndecodablePixels) as caught:
        read_pixels(write_dx(tmp_path / "film.dcm", PixelData=bytes(10)))
    assert isinstance(caught.value.__cause__, ValueError)


CUT_SHARES = (0.3, 0.6, 0.95, 0.999)


@pytest.mark.parametrize("share", CUT_SHARES)
@pytest.mark.parametrize("name", shared_names("cxr_dicom"))
def test_a_film_cut_short_is_never_read(tmp_path: Path, name: str, share: float) -> None:
    whole = shared_data(*name.split("/")).read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UndecodablePixels):
        read_pixels(cut)


@pytest.mark.parametrize("share", CUT_SHARES)
@pytest.mark.parametrize(
    "name",
    [
        "cxr_dicom/RG1_J2KI.dcm",
        "cxr_dicom/RG1_JLSN.dcm",
        "cxr_dicom/simpleitk_cxr.dcm",
        "cxr_dicom/rsna_16d7f894_PA.dcm",
        "non_chest/RG3_RLE.dcm",
    ],
)
def test_a_stream_cut_short_in_a_whole_file_is_never_read(tmp_path: Path, name: str, share: float) -> None:
    ds = dcmread(shared_data(*name.split("/")))
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    cut = frame[: int(len(frame) * share) // 2 * 2]
    ds.PixelData = encapsulate([cut])
    ds.save_as(tmp_path / "cut.dcm")
    with pytest.raises(UndecodablePixels):
        read_pixels(tmp_path / "cut.dcm")


@pytest.mark.parametrize(("form", "transfer_syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)])
def test_a_stream_of_another_size_is_refused_before_a_decoder_makes_room_for_it(
    tmp_path: Path, form: str, transfer_syntax: str
) -> None:
    file = BytesIO()
    Image.fromarray(np.zeros((3000, 2000), np.uint8)).save(file, form)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "transfer_syntax": transfer_syntax}
    film = write_dx(tmp_path / "film.dcm", PixelData=encapsulate([file.getvalue()]), **bits)
    with pytest.raises(UndecodablePixels, match="the stream is of 3000 x 2000 x 1, expected 48 x 40 x 1"):
        read_pixels(film)


def test_an_rle_segment_longer_than_the_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    runs = b"\x81\x00" * 31  # 3,968 bytes, of 1,920
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + runs
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "transfer_syntax": RLELossless}
    film = write_dx(tmp_path / "film.dcm", PixelData=encapsulate([frame]), **bits)
    with pytest.raises(UndecodablePixels, match="a segment is longer than 48 x 40"):
        read_pixels(film)


def test_a_damaged_rle_stream_is_refused_and_does_not_panic(tmp_path: Path) -> None:
    ds = dcmread(shared_data("transfer_syntax", "MR_small_RLE.dcm"))
    frame = bytearray(next(generate_frames(ds.PixelData, number_of_frames=1)))
    frame[64:3000] = b"\x81\x00" * 1468  # runs of 128: far more than the segment may hold
    ds.PixelData = encapsulate([bytes(frame)])
    ds.save_as(tmp_path / "damaged.dcm")
    with pytest.raises(UndecodablePixels):
        read_pixels(tmp_path / "damaged.dcm")


# Refused among the published files, and why; all others decode.
UNDECODABLE = {
    "hostile/JPEG2000-embedded-sequence-delimiter.dcm": "the stream is of 1024 x 3722445056 x 1",
    "hostile/MR_truncated.dcm": "ValueError",
    "hostile/SC_rgb_small_odd.dcm": "Samples per Pixel",
    "hostile/badVR.dcm": "Number of Frames",
    "hostile/cxr_966_bad_j2k_marker.dcm": "1.2.840.10008.1.2.4.90: RuntimeError",
    "hostile/meta_missing_tsyntax.dcm": "AttributeError",
    "hostile/nested_priv_SQ.dcm": "Samples per Pixel is missing",
    **dict.fromkeys(
        [
            "hostile/ExplVR_BigEndNoMeta.dcm",
            "hostile/ExplVR_LitEndNoMeta.dcm",
            "hostile/no_meta.dcm",
            "hostile/zipMR.gz",
        ],
        "InvalidDicomError",
    ),
    **dict.fromkeys(
        [
            "hostile/DICOMDIR",
            "hostile/DICOMDIR-empty.dcm",
            "hostile/DICOMDIR-nooffset",
            "hostile/DICOMDIR-nopatient",
            "hostile/UN_sequence.dcm",
            "hostile/cr_chest_no_pixels.dcm",
            "hostile/emri_small_jpeg_2k_lossless_too_short.dcm",
            "hostile/no-pixel-data.dcm",
            "hostile/no_meta_group_length.dcm",
            "hostile/priv_SQ.dcm",
            "hostile/reportsi.dcm",
            "hostile/reportsi_with_empty_number_tags.dcm",
            "hostile/rtplan_truncated.dcm",
            "hostile/test-SR.dcm",
            "charset/chrJapMulti.dcm",
            "charset/chrJapMultiExplicitIR6.dcm",
            "charset/chrKoreanMulti.dcm",
            "charset/chrSQEncoding.dcm",
            "charset/chrSQEncoding1.dcm",
            "charset/empty_charset_LEI.dcm",
        ],
        "Pixel Data is missing",
    ),
    "non_chest/RG3_JPLY.dcm": "1.2.840.10008.1.2.4.51: RuntimeError",
    "transfer_syntax/HTJ2K_08_RGB.dcm": "Samples per Pixel",
    "transfer_syntax/JPEG-lossy.dcm": "1.2.840.10008.1.2.4.51: RuntimeError",
    "transfer_syntax/liver_deflate.dcm": "Number of Frames",
}


@pytest.mark.parametrize("name", shared_names("charset", "cxr_dicom", "hostile", "non_chest", "transfer_syntax"))
def test_every_published_file_decodes_or_is_refused_by_name(name: str) -> None:
    path = shared_data(*name.split("/"))
    if name in UNDECODABLE:
        with pytest.raises(UndecodablePixels, match=UNDECODABLE[name]):
            read_pixels(path)
        return
    picture = read_pixels(path)
    ds = dcmread(path, specific_tags=["Rows", "Columns"])
    assert picture.shape == (ds.Rows, ds.Columns)
    assert picture.min() < 10 < 245 < picture.max()


def test_the_real_pair_differs_by_inversion_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = before_jpeg(shared_data("cxr_dicom", "rsna_16d7f894_PA.dcm"), monkeypatch)
    fake = before_jpeg(shared_data("cxr_dicom", "rsna_16d7f894_fake_MONOCHROME1.dcm"), monkeypatch)
    np.testing.assert_array_equal(fake, 255 - plain)


def test_one_film_in_two_lossy_codecs_gives_one_picture() -> None:
    first = read_pixels(shared_data("cxr_dicom", "RG1_J2KI.dcm")).astype(int)
    second = read_pixels(shared_data("cxr_dicom", "RG1_JLSN.dcm")).astype(int)
    assert np.abs(first - second).mean() < 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("non_chest/RG2_JPLL.dcm", "transfer_syntax/RG2_JLSL.dcm"),
        ("non_chest/RG3_RLE.dcm", "transfer_syntax/RG3_J2KR.dcm"),
        ("transfer_syntax/MR_small_RLE.dcm", "transfer_syntax/MR_small_bigendian.dcm"),
        ("transfer_syntax/MR_small_RLE.dcm", "transfer_syntax/MR_small_jp2klossless.dcm"),
        ("transfer_syntax/MR_small_RLE.dcm", "transfer_syntax/MR_small_jpeg_ls_lossless.dcm"),
        ("transfer_syntax/MR_small_RLE.dcm", "hostile/MR_small_padded.dcm"),
    ],
)
def test_lossless_codecs_agree_exactly(first: str, second: str) -> None:
    pictures = [read_pixels(shared_data(*name.split("/"))) for name in (first, second)]
    np.testing.assert_array_equal(*pictures)


@pytest.mark.parametrize("name", shared_names("cxr_dicom"))
def test_bone_is_brighter_than_lung_in_every_real_film(name: str) -> None:
    picture = read_pixels(shared_data(*name.split("/"))).astype(float)
    rows, columns = picture.shape
    middle = picture[rows // 3 : 2 * rows // 3]
    spine = middle[:, int(columns * 0.46) : int(columns * 0.54)].mean()
    lungs = np.concatenate([middle[:, int(columns * a) : int(columns * b)] for a, b in [(0.2, 0.32), (0.68, 0.8)]], 1)
    assert bool(spine > lungs.mean()) is ("fake_MONOCHROME1" not in name)
