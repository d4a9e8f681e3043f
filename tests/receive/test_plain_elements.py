"""The quick reader of headers gives what pydicom gives, or gives up."""

from io import BytesIO

import pytest
from films import code_sequence, dx_bytes, shared_data, shared_names
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from dicom_node.errors import InvalidHeader
from dicom_node.receive import header
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.plain_elements import NotPlain

FILMS = [dx_bytes(transfer_syntax=syntax) for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)]


def plain(part10: bytes) -> InstanceHeader | str | None:
    """What the quick reader says; None where it gives up."""
    try:
        return header._header(header._PlainSource(BytesIO(part10)))
    except NotPlain:
        return None
    except InvalidHeader as error:
        return f"{type(error).__name__}: {error}"


def by_pydicom(part10: bytes) -> InstanceHeader | str:
    try:
        return header._read_by_pydicom(BytesIO(part10))
    except InvalidHeader as error:
        return f"{type(error).__name__}: {error}"


def assert_agree(part10: bytes) -> None:
    quick = plain(part10)
    assert quick is None or quick == by_pydicom(part10)


@pytest.mark.parametrize("film", FILMS, ids=["implicit", "explicit"])
def test_an_ordinary_film_is_plain(film: bytes) -> None:
    assert isinstance(plain(film), InstanceHeader)
    assert plain(film) == by_pydicom(film)


def test_a_compressed_film_is_plain() -> None:
    film = dx_bytes()
    explicit, compressed = (uid.encode() for uid in (ExplicitVRLittleEndian, JPEG2000Lossless))
    assert len(compressed) == len(explicit) + 3
    before = b"UI\x14\0" + explicit + b"\0"
    part10 = film.replace(before, b"UI\x16\0" + compressed, 1)
    assert isinstance(plain(part10), InstanceHeader)
    assert_agree(part10)


def test_a_header_larger_than_one_look_is_plain() -> None:
    film = dx_bytes(ImageComments="x" * 40_000, StudyID="1")
    assert isinstance(plain(film), InstanceHeader)
    assert_agree(film)


def test_codes_are_for_pydicom_where_the_word_is_silent() -> None:
    codes = code_sequence("399348003", "SCT", "AP")
    assert isinstance(plain(dx_bytes(ViewCodeSequence=codes)), InstanceHeader)
    assert plain(dx_bytes(ViewCodeSequence=codes, ViewPosition="")) is None


@pytest.mark.parametrize("name", shared_names("charset", "cxr_dicom", "hostile", "non_chest", "transfer_syntax"))
def test_every_published_file_is_read_alike(name: str) -> None:
    assert_agree(shared_data(*name.split("/")).read_bytes())


@settings(deadline=None)
@given(st.booleans(), st.data())
def test_every_damage_is_read_alike(is_explicit: bool, data: st.DataObject) -> None:
    """Bytes overwritten, cut out or put in, before the pixels."""
    film = FILMS[is_explicit]
    end = film.index(b"\xe0\x7f\x10\x00") + 12
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(128, end))
        removed = data.draw(st.integers(0, 9))
        film = film[:at] + data.draw(st.binary(max_size=9)) + film[at + removed :]
    assert_agree(film)


@settings(deadline=None)
@given(st.booleans(), st.floats(0, 1))
def test_every_cut_is_read_alike(is_explicit: bool, share: float) -> None:
    film = FILMS[is_explicit]
    assert_agree(film[: int(len(film) * share)])
