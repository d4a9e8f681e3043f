"""The model that ships: small, whole, and able to read films it has never seen."""

from pathlib import Path

import pytest

from dicom_node.config import Settings
from workers.llavarad.checkpoint import verify
from workers.llavarad.engine import Engine
from workers.phantom.score import UNSEEN, Score, read_films, score

MODEL = Settings().checkpoint_dir
LARGEST_BYTES = 20_000_000
FILMS = 60


@pytest.fixture(scope="module")
def scored() -> Score:
    pairs = read_films(Engine.load(MODEL, device="cpu"), range(UNSEEN, UNSEEN + FILMS), 512)
    return score(pairs)


def test_it_is_whole_and_small_and_says_how_it_was_made() -> None:
    assert verify(MODEL)
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < LARGEST_BYTES
    card = (MODEL / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "SYNTHETIC TEST MODEL" in card
    assert "make phantom-model" in card


def test_it_says_of_itself_that_it_is_for_tests() -> None:
    assert Engine.load(MODEL, device="cpu").identity.is_synthetic


def test_it_names_what_is_in_a_film_and_on_which_side(scored: Score) -> None:
    """The card has the figures of 500 films; so few as here tell no more than that nothing has come apart."""
    print(scored)
    assert scored.findings.value > 0.93
    assert scored.sides.value > 0.96
    assert scored.false_findings.value < 0.05


def test_the_same_folder_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().checkpoint_dir == MODEL
