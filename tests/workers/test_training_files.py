"""The files of a run, on a disk that is full: told in words, and what was there before stays."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress
from torch import nn
from torch.optim import AdamW
from training_toys import make_recipe, write_toys

from dicom_node.errors import StorageFull
from workers.training.files import new_array, write_text
from workers.training.films import load_films
from workers.training.recipe import StageName
from workers.training.records import read_records
from workers.training.run import _claim
from workers.training.state import finish, is_done, restore_state, save_state


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond a kilobyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_array_takes_all_its_room_before_anything_is_written(tmp_path: Path) -> None:
    new_array(tmp_path / "array.npy", np.uint8, (300, 300, 10))

    assert (tmp_path / "array.npy").stat().st_blocks * 512 >= 900_000


@pytest.mark.usefixtures("full_disk")
def test_films_without_room_are_refused(tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    records = read_records(write_toys(tmp_path, 20))

    with pytest.raises(StorageFull, match=r"films\.npy cannot be written"):
        load_films(records, 112, tmp_path / "films.npy", Progress(disable=True))
    assert not list(tmp_path.glob("films*"))


def test_a_state_that_cannot_be_saved_leaves_the_one_before(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    module = nn.Linear(100, 100)
    optimizer = AdamW(module.parameters())
    save_state(tmp_path, module, optimizer, [])
    weights = module.weight.detach().clone()
    nn.init.zeros_(module.weight)

    request.getfixturevalue("full_disk")
    for save in (lambda: save_state(tmp_path, module, optimizer, []), lambda: finish(tmp_path, module)):
        with pytest.raises(StorageFull, match="cannot be written"):
            save()

    restore_state(tmp_path, module, optimizer)
    assert torch.equal(module.weight, weights)
    assert not is_done(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.usefixtures("full_disk")
def test_a_text_that_has_no_room_leaves_the_one_before(tmp_path: Path) -> None:
    write_text(tmp_path / "stage.json", "{}")

    with pytest.raises(StorageFull, match=r"stage\.json cannot be written"):
        write_text(tmp_path / "stage.json", "a" * 2000)
    assert (tmp_path / "stage.json").read_text(encoding="utf-8") == "{}"


def test_a_run_goes_on_where_it_was_begun_though_nothing_more_can_be_written(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    recipe = make_recipe(write_toys(tmp_path / "toys", 64), tmp_path / "out")
    _claim(recipe, StageName.LANGUAGE)

    request.getfixturevalue("full_disk")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    _claim(recipe, StageName.LANGUAGE)
