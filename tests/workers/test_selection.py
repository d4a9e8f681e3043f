"""Which image is chosen, and the words for why none is."""

import itertools
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from films import shared_data, shared_names
from pydicom.uid import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from dicom_node.errors import InvalidHeader
from dicom_node.models import Instance
from dicom_node.product import MANUFACTURER
from dicom_node.receive.header import read_header
from workers.selection import Candidate, Chosen, Skipped, SkipReason, choose_frontal

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def candidate(
    uid: str = "1.2.3",
    *,
    modality: str = "DX",
    assume_chest: bool = False,
    assume_frontal: bool = False,
    **columns: Any,
) -> Candidate:
    """A PA chest radiograph for presentation, but for the columns given."""
    row = {
        "series_id": 1,
        "sop_class_uid": DigitalXRayImageStorageForPresentation,
        "sop_instance_uid": uid,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "path": f"{uid}.dcm",
        "calling_ae": "MODALITY",
        "received_at": NOON,
        "patient_key": "a" * 64,
        "body_part": "CHEST",
        "view": "PA",
        "presentation_intent": "FOR PRESENTATION",
        "manufacturer": "MAKER",
        "burned_in_annotation": "NO",
        "has_pixels": True,
    }
    instance = Instance(**{**row, **columns})
    return Candidate(instance, modality, assume_chest=assume_chest, assume_frontal=assume_frontal)


def words(*candidates: Candidate) -> str:
    result = choose_frontal(candidates)
    assert isinstance(result, Skipped)
    return result.words


def test_a_frontal_chest_radiograph_is_chosen() -> None:
    film = candidate()
    assert choose_frontal([film]) == Chosen(film.instance)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"manufacturer": "CXRNODE"}, "only results of this node"),
    ({"sop_class_uid": BasicTextSRStorage}, "no radiograph (CR, DX or secondary capture)"),
    (
        {"sop_class_uid": DigitalMammographyXRayImageStorageForPresentation},
        "no radiograph (CR, DX or secondary capture)",
    ),
    ({"has_pixels": False}, "no pixel data"),
    ({"modality": "OT"}, "not a modality of projection radiography (modality OT)"),
    ({"modality": ""}, "not a modality of projection radiography (modality not stated)"),
    ({"body_part": "HIP"}, "not a radiograph of the chest (body part HIP)"),
    ({"body_part": "CHESTABDOMEN"}, "not a radiograph of the chest (body part of another name)"),
    ({"body_part": ""}, "body part not stated"),
    ({"view": "LL"}, "no frontal view (view LL)"),
    ({"view": "AP LLD"}, "no frontal view (view of another name)"),
    ({"view": ""}, "view not stated"),
    ({"burned_in_annotation": "YES"}, "text is burned into the image"),
]


@pytest.mark.parametrize(("columns", "expected"), FAULTS)
def test_one_fault_is_enough_and_has_a_name(columns: dict[str, Any], expected: str) -> None:
    assert words(candidate(**columns)) == expected


def test_an_empty_study_has_a_name_too() -> None:
    assert words() == "the study holds no object"


@pytest.mark.parametrize(("far", "near"), list(itertools.combinations(range(len(FAULTS)), 2)))
def test_the_reason_is_that_of_the_nearest_miss(far: int, near: int) -> None:
    films = [candidate("1.1", **FAULTS[far][0]), candidate("1.2", **FAULTS[near][0])]
    result = choose_frontal(films)
    assert result == choose_frontal(films[::-1])
    assert isinstance(result, Skipped)
    assert FAULTS[near][1].startswith(str(result.reason))


@pytest.mark.parametrize(("columns", "_"), FAULTS)
def test_a_good_film_is_chosen_beside_any_other(columns: dict[str, Any], _: str) -> None:
    good = candidate("1.9")
    assert choose_frontal([candidate("1.1", **columns), good]) == Chosen(good.instance)


def test_several_misses_of_one_kind_are_all_named() -> None:
    assert words(candidate("1.1", view="LL"), candidate("1.2", view="RL")) == "no frontal view (view LL, view RL)"


@pytest.mark.parametrize("column", ["body_part", "view"])
def test_a_reason_repeats_no_word_it_does_not_know(column: str) -> None:
    assert "CANARY" not in words(candidate(**{column: "CANARY^PHI"}))
    assert "CANARY" not in words(candidate(modality="CANARY^PHI"))


class TestContradictions:
    def test_two_patients_in_a_study_skip_it(self) -> None:
        films = [candidate("1.1"), candidate("1.2", patient_key="b" * 64)]
        assert words(*films) == "objects of one study name different patients"

    def test_a_patient_and_none_are_two(self) -> None:
        report = candidate("1.2", patient_key="", sop_class_uid=BasicTextSRStorage)
        assert choose_frontal([candidate("1.1"), report]) == Skipped(SkipReason.TWO_PATIENTS)

    def test_no_patient_id_at_all_is_no_contradiction(self) -> None:
        films = [candidate("1.1", patient_key=""), candidate("1.2", patient_key="", view="LL")]
        assert choose_frontal(films) == Chosen(films[0].instance)

    def test_one_uid_with_two_contents_skips_the_study(self) -> None:
        films = [candidate("1.1"), candidate("1.1", variant=1), candidate("1.2")]
        assert choose_frontal(films) == Skipped(SkipReason.TWO_VERSIONS)

    def test_a_lateral_with_two_contents_skips_it_too(self) -> None:
        films = [candidate("1.1", variant=number, view="LL") for number in range(2)]
        assert choose_frontal([*films, candidate("1.2")]) == Skipped(SkipReason.TWO_VERSIONS)

    def test_two_versions_of_our_own_page_do_not_matter(self) -> None:
        """A PACS that routes sends it back, compressed once and not at another time."""
        page = {"sop_class_uid": SecondaryCaptureImageStorage, "manufacturer": MANUFACTURER}
        film = candidate("1.2")
        assert choose_frontal([*(candidate("1.1", variant=n, **page) for n in range(2)), film]) == Chosen(film.instance)

    def test_two_versions_of_a_report_do_not_matter(self) -> None:
        reports = [candidate("1.1", variant=number, sop_class_uid=BasicTextSRStorage) for number in range(2)]
        film = candidate("1.2")
        assert choose_frontal([*reports, film]) == Chosen(film.instance)


# Best first.
PREFERENCES: list[dict[str, Any]] = [
    {"view": "PA", "received_at": NOON + timedelta(seconds=1)},
    {"view": "PA", "sop_class_uid": ComputedRadiographyImageStorage, "presentation_intent": ""},
    {"view": "PA"},
    {"view": "AP", "received_at": NOON + timedelta(seconds=9)},
    {"view": "FRONTAL"},
    {"view": "", "assume_frontal": True, "received_at": NOON + timedelta(seconds=9)},
    {"view": "PA", "sop_class_uid": SecondaryCaptureImageStorage},
    {"view": "AP", "sop_class_uid": SecondaryCaptureImageStorage},
    {"view": "PA", "sop_class_uid": DigitalXRayImageStorageForProcessing},
    {"view": "PA", "presentation_intent": "FOR PROCESSING"},
]


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(range(len(PREFERENCES)), 2)))
def test_the_better_image_is_chosen_in_any_order(better: int, worse: int) -> None:
    films = [candidate(f"1.{index}", **PREFERENCES[index]) for index in (better, worse)]
    assert choose_frontal(films) == choose_frontal(films[::-1]) == Chosen(films[0].instance)


@pytest.mark.parametrize("modality", ["CR", "DX", "DR"])
@pytest.mark.parametrize("body_part", ["CHEST", "THORAX", "TORAX", "LUNG"])
def test_what_senders_write_for_a_chest_film_is_taken(modality: str, body_part: str) -> None:
    film = candidate(modality=modality, body_part=body_part, sop_class_uid=SecondaryCaptureImageStorage)
    assert choose_frontal([film]) == Chosen(film.instance)


def test_the_site_vouches_only_for_what_is_not_stated() -> None:
    assert choose_frontal([candidate(body_part="", assume_chest=True)]) == Chosen(candidate(body_part="").instance)
    assert choose_frontal([candidate(view="", assume_frontal=True)]) == Chosen(candidate(view="").instance)
    assert "body part HIP" in words(candidate(body_part="HIP", assume_chest=True, assume_frontal=True))
    assert "view LL" in words(candidate(view="LL", assume_chest=True, assume_frontal=True))
    assert words(candidate(body_part="", assume_frontal=True)) == "body part not stated"
    assert words(candidate(view="", assume_chest=True)) == "view not stated"


def test_own_output_is_known_by_its_manufacturer() -> None:
    assert words(candidate(manufacturer=MANUFACTURER.upper())) == SkipReason.OWN_OUTPUT


# Real films: their words when nothing is vouched for, and when chest and frontal are; "" where they are chosen.
FILMS = {
    "cxr_dicom/966_fixed.dcm": ("", ""),
    "cxr_dicom/RG1_J2KI.dcm": ("", ""),
    "cxr_dicom/RG1_JLSN.dcm": ("", ""),
    "cxr_dicom/panimg_CR-MONO1-10-chest.dcm": ("", ""),
    "cxr_dicom/rsna_16d7f894_PA.dcm": ("", ""),
    "cxr_dicom/rsna_16d7f894_fake_MONOCHROME1.dcm": ("", ""),
    "cxr_dicom/dicom_00000001_000.dcm": ("body part not stated", ""),
    "cxr_dicom/nih_pt2527_nodule.dcm": ("body part not stated", ""),
    "cxr_dicom/nih_pt61_effusion.dcm": ("view not stated", ""),
    "cxr_dicom/simpleitk_cxr.dcm": ("view not stated", ""),
    "non_chest/RG2_JPLL.dcm": ("not a radiograph of the chest (body part HIP)",) * 2,
    "non_chest/RG3_JPLY.dcm": ("not a radiograph of the chest (body part EXTREMITY)",) * 2,
    "non_chest/RG3_RLE.dcm": ("not a radiograph of the chest (body part EXTREMITY)",) * 2,
    "non_chest/mg_voilut3_GH133.dcm": ("no radiograph (CR, DX or secondary capture)",) * 2,
    "hostile/cr_chest_no_pixels.dcm": ("no pixel data",) * 2,
    "hostile/test-SR.dcm": ("no radiograph (CR, DX or secondary capture)",) * 2,
    "hostile/MR_small_padded.dcm": ("no radiograph (CR, DX or secondary capture)",) * 2,
    "hostile/SC_rgb_small_odd.dcm": ("not a modality of projection radiography (modality OT)",) * 2,
}


@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("name", FILMS)
def test_real_films(name: str, vouched: bool) -> None:
    film = _candidate_of(name, vouched=vouched)
    expected = FILMS[name][vouched]
    result = choose_frontal([film])
    assert result == Chosen(film.instance) if not expected else isinstance(result, Skipped) and result.words == expected


@pytest.mark.parametrize("name", shared_names("charset", "hostile", "transfer_syntax"))
def test_nothing_else_that_was_published_is_taken_for_a_chest_film(name: str) -> None:
    try:
        film = _candidate_of(name, vouched=False)
    except InvalidHeader:
        return
    is_chest_film = name == "hostile/cxr_966_bad_j2k_marker.dcm"  # its header is sound, its pixels are not
    assert isinstance(choose_frontal([film]), Chosen) is is_chest_film


def _candidate_of(name: str, *, vouched: bool) -> Candidate:
    header = read_header(BytesIO(shared_data(*name.split("/")).read_bytes()))
    columns = {key: value for key, value in vars(header).items() if key in Instance.model_fields}
    uid = columns.pop("sop_instance_uid")
    return candidate(uid, modality=header.modality, assume_chest=vouched, assume_frontal=vouched, **columns)
