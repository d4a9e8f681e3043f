"""What is read of a header, and what is refused."""

import logging
import struct
import zlib
from errno import EIO
from io import BytesIO
from typing import Any

import pytest
from films import code_sequence, dx_bytes, shared_data, shared_names
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import InvalidHeader
from dicom_node.part_file import PartReader
from dicom_node.receive.deflate import refuse_deflate_bomb
from dicom_node.receive.header import InstanceHeader, read_header
from dicom_node.receive.plain_elements import Readable


def header_of(**elements: Any) -> InstanceHeader:
    return read_header(BytesIO(dx_bytes(**elements)))


def test_reads_everything_the_rows_need() -> None:
    header = header_of()
    assert header.study_instance_uid.startswith("2.25.")
    assert len({header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid}) == 3
    assert header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.1.1"
    assert header.transfer_syntax_uid == ExplicitVRLittleEndian
    assert (header.modality, header.body_part, header.view) == ("DX", "CHEST", "PA")
    assert (header.presentation_intent, header.burned_in_annotation) == ("FOR PRESENTATION", "NO")
    assert header.manufacturer == "MAKER OF FILMS"
    assert header.has_pixels


@pytest.mark.parametrize(
    "transfer_syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_encoding_gives_the_same_header(transfer_syntax: str) -> None:
    region = code_sequence("51185008", "SCT", "Chest")
    elements = {"BodyPartExamined": None, "AnatomicRegionSequence": region}
    header = header_of(transfer_syntax=transfer_syntax, **elements)
    expected = header_of(**elements)
    assert header.transfer_syntax_uid == transfer_syntax
    assert {**vars(header), "transfer_syntax_uid": ""} == {**vars(expected), "transfer_syntax_uid": ""}


@pytest.mark.parametrize("keyword", ["PixelData", "FloatPixelData", "DoubleFloatPixelData"])
def test_any_kind_of_pixel_data_counts(keyword: str) -> None:
    assert header_of(**{"PixelData": None, keyword: bytes(8)}).has_pixels


def test_absent_and_empty_pixel_data_do_not_count() -> None:
    icon = Dataset()
    icon.add_new(0x7FE00010, "OW", bytes(8))
    assert not header_of(PixelData=b"").has_pixels
    assert not read_header(BytesIO(dx_bytes(IconImageSequence=Sequence([icon]), PixelData=b""))).has_pixels


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is missing or empty"),
        ("1." + "2" * 63, "has 65 characters"),
        ("1.2.x", "is not a UID"),
        ("1..2", "is not a UID"),
        ("CANARY^PHI", "is not a UID"),
        (["1.2", "1.3"], "is not a UID"),
    ],
)
def test_an_invalid_identifier_is_refused(keyword: str, value: object, words: str) -> None:
    with pytest.raises(InvalidHeader, match=words) as caught:
        header_of(**{keyword: value})
    assert "CANARY" not in str(caught.value)
    assert str(caught.value).startswith("(00")


def test_an_absent_identifier_is_refused() -> None:
    with pytest.raises(InvalidHeader, match=r"\(0020,000D\) Study Instance UID is missing or empty, expected a UID"):
        header_of(StudyInstanceUID=None)


def test_leading_zeros_and_64_characters_are_accepted() -> None:
    uid = "1.02.003." + "4" * 55
    assert header_of(StudyInstanceUID=uid).study_instance_uid == uid


@pytest.mark.parametrize(
    ("elements", "body_part"),
    [
        ({"BodyPartExamined": "chest "}, "CHEST"),
        ({"BodyPartExamined": "HIP", "AnatomicRegionSequence": code_sequence("51185008", "SCT", "Chest")}, "HIP"),
        ({"BodyPartExamined": "", "AnatomicRegionSequence": code_sequence("51185008", "SCT", "Brust")}, "CHEST"),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": code_sequence("T-D3000", "SRT", "")}, "CHEST"),
        (
            {"BodyPartExamined": None, "AnatomicRegionSequence": code_sequence("T-15710", "SRT", "Hip joint")},
            "HIP JOINT",
        ),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": Sequence()}, ""),
        ({"BodyPartExamined": None}, ""),
    ],
)
def test_body_part_is_the_word_else_the_code(elements: dict[str, object], body_part: str) -> None:
    assert header_of(**elements).body_part == body_part


@pytest.mark.parametrize(
    ("code", "scheme", "view"),
    [
        ("272479007", "SCT", "PA"),
        ("R-10214", "SRT", "PA"),
        ("399348003", "SCT", "AP"),
        ("R-10206", "SRT", "AP"),
        ("R-10202", "SRT", "FRONTAL"),
        ("399173006", "SCT", "LL"),
        ("R-10232", "SNM3", "RL"),
        ("399067008", "SCT", "LATERAL"),
        ("R-10242", "SRT", "CRANIO-CAUDAL"),
    ],
)
def test_view_is_the_code_where_the_word_is_absent(code: str, scheme: str, view: str) -> None:
    sequence = code_sequence(code, scheme, "cranio-caudal")
    assert header_of(ViewPosition="", ViewCodeSequence=sequence).view == view
    assert header_of(ViewPosition="AP", ViewCodeSequence=sequence).view == "AP"


def test_the_patient_key_tells_patients_apart_and_names_none() -> None:
    key = header_of(PatientID="CANARY-ID").patient_key
    assert len(key) == 64
    assert key == header_of(PatientID=" CANARY-ID ", PatientName="Other").patient_key
    assert key != header_of(PatientID="CANARY-ID", IssuerOfPatientID="North").patient_key
    assert key != header_of(PatientID="CANARY-I").patient_key
    assert header_of(PatientID="").patient_key == header_of(PatientID=None).patient_key == ""


def test_words_hold_nothing_a_database_refuses() -> None:
    header = header_of(Manufacturer="A\x00\x1b[1m" + "B" * 100)
    assert "\x00" not in header.manufacturer
    assert len(header.manufacturer) <= 64


def test_a_lying_length_is_not_read() -> None:
    whole = dx_bytes(transfer_syntax=ImplicitVRLittleEndian)
    start = whole.index(b"\x10\x00\x20\x00")
    lying = whole[: start + 4] + b"\xf0\xff\xff\xff" + whole[start + 8 :]
    with pytest.raises(InvalidHeader):
        read_header(BytesIO(lying))


def test_a_file_that_cannot_be_read_is_the_disk_s_fault() -> None:
    class Failing(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        read_header(Failing(dx_bytes()))


def test_a_header_cut_before_its_last_identifier_ends_is_refused() -> None:
    whole = dx_bytes()
    end = whole.index(b"\x20\x00\x0e\x00UI") + 8 + len(header_of().series_instance_uid)
    for length in range(end):
        with pytest.raises(InvalidHeader):
            read_header(BytesIO(whole[:length]))
    assert not read_header(BytesIO(whole[: end + 1])).has_pixels


FOLDERS = ("charset", "cxr_dicom", "hostile", "non_chest", "transfer_syntax")


@pytest.mark.parametrize("name", shared_names(*FOLDERS))
def test_every_published_file_gives_a_header_or_invalid_header(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = shared_data(*name.split("/"))
    with path.open("rb") as file:
        read = _outcome(PartReader(file.fileno(), path.stat().st_size))
    assert isinstance(read, InstanceHeader) is (path.name not in REFUSED)
    assert _outcome(BytesIO(path.read_bytes())) == read


@pytest.mark.parametrize("name", shared_names("cxr_dicom"))
@pytest.mark.parametrize("share", [0.001, 0.01, 0.5])
def test_every_film_cut_anywhere_gives_a_header_or_invalid_header(name: str, share: float) -> None:
    whole = shared_data(*name.split("/")).read_bytes()
    _outcome(BytesIO(whole[: int(len(whole) * share)]))


REFUSED = {
    # not Part 10
    "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "no_meta.dcm", "zipMR.gz",
    # no study, series or instance
    "DICOMDIR", "DICOMDIR-empty.dcm", "DICOMDIR-nooffset", "DICOMDIR-nopatient", "UN_sequence.dcm",
    "nested_priv_SQ.dcm", "no_meta_group_length.dcm", "priv_SQ.dcm", "chrSQEncoding.dcm", "chrSQEncoding1.dcm",
    "meta_missing_tsyntax.dcm", "empty_charset_LEI.dcm", "HTJ2K_08_RGB.dcm", "JPEGLSNearLossless_16.dcm",
    # cut short
    "MR_truncated.dcm", "rtplan_truncated.dcm",
    # hexadecimal digits as a UID
    "bad_sequence.dcm",
}  # fmt: skip


def _outcome(part10: Readable) -> InstanceHeader | str:
    try:
        return read_header(part10)
    except InvalidHeader as error:
        return str(error)


def test_a_deflate_bomb_is_refused_before_it_is_inflated() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1024 * 1024)) for _ in range(257)) + deflater.flush()
    with pytest.raises(InvalidHeader, match="inflates to more than"):
        refuse_deflate_bomb(BytesIO(bomb))


def test_a_damaged_deflate_stream_is_refused() -> None:
    with pytest.raises(InvalidHeader, match="cannot be inflated"):
        refuse_deflate_bomb(BytesIO(b"\xff\xff\xff\xff"))


def test_a_header_of_countless_elements_is_refused() -> None:
    empty = struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", 0)
    film = dx_bytes()
    start = film.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI"))
    with pytest.raises(InvalidHeader, match="more than 65536 elements"):
        read_header(BytesIO(film[:start] + empty * 65_537 + film[start:]))


def test_a_header_that_holds_a_film_in_an_item_is_refused() -> None:
    begin = struct.pack("<HH2sHI", 0x0008, 0x2218, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    value = struct.pack("<HH2sHI", 0x0042, 0x0011, b"OB", 0, 64 << 20) + bytes(64 << 20)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    with pytest.raises(InvalidHeader, match="header is longer than 67108864 bytes"):
        read_header(BytesIO(dx_bytes(PixelData=None) + begin + value + end))
