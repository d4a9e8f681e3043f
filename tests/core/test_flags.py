"""What a draft is flagged for, stored and in words."""

import json

import pytest

from dicom_node.flags import Flag, FlagKind, flags_from_json, flags_to_json, remark

TWICE = Flag(FlagKind.CONTRADICTION, "Says both that there is größe and that there is none.", ((3, 9), (20, 26)))
CROPPED = Flag(FlagKind.CROPPED, "17 % of the image was outside of what the model reads.")


def test_flags_come_back_from_json() -> None:
    assert flags_from_json(flags_to_json([TWICE, CROPPED])) == (TWICE, CROPPED)
    assert json.loads(flags_to_json([TWICE]))[0].keys() == {"flag", "says", "at"}
    assert flags_to_json(()) == "[]"


def test_a_flag_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="smell"):
        flags_from_json('[{"flag":"smell","says":"","at":[]}]')


@pytest.mark.parametrize(
    ("flags", "is_synthetic", "words"),
    [
        ((), False, "draft stored"),
        ((), True, "SYNTHETIC TEST MODEL: draft stored"),
        ((TWICE, TWICE), False, "draft stored; check: the draft contradicts itself"),
        (
            (TWICE, CROPPED),
            True,
            "SYNTHETIC TEST MODEL: draft stored; check: the draft contradicts itself, is of a part of the image",
        ),
    ],
)
def test_a_remark_says_what_to_check_each_thing_once(flags: tuple[Flag, ...], is_synthetic: bool, words: str) -> None:
    assert remark("draft stored", flags, is_synthetic=is_synthetic) == words


@pytest.mark.parametrize("kind", FlagKind)
def test_every_kind_has_words_that_quote_nothing(kind: FlagKind) -> None:
    words = remark("x", [Flag(kind, "CANARY^PHI")], is_synthetic=False)
    assert words.startswith("x; check: the draft ")
    assert "CANARY" not in words
