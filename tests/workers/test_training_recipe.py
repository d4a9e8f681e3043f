"""The whole recipe on films that say left or right: every stage learns, and each helps the next."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from training_toys import HELD_OUT, PRESET, draw_toy, findings, make_recipe, write_toys
from typer import Typer
from typer.testing import CliRunner

from dicom_node.errors import Permanent
from workers.llavarad.engine import Engine
from workers.training.curves import CURVES
from workers.training.loop import LOSSES, read_losses
from workers.training.recipe import Recipe, StageName
from workers.training.run import MODEL, main, run
from workers.training.stages import build_stage
from workers.training.state import finish

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.* is deprecated and will be removed in v6:FutureWarning"),
]
FILMS = 512 + HELD_OUT


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toys(tmp_path_factory.mktemp("toys"), FILMS)


@pytest.fixture(scope="module")
def done(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe run to its end."""
    recipe = make_recipe(toys, tmp_path_factory.mktemp("run"))
    run(recipe, recipe.stages)
    return recipe


@pytest.mark.parametrize("name", list(StageName))
def test_every_stage_lowers_its_loss_on_films_it_never_saw(done: Recipe, name: StageName) -> None:
    rows = read_losses(done.folder(name) / LOSSES)

    assert rows[-1].held_out_loss < 0.9 * np.mean([row.loss for row in rows[:3]])


def test_the_model_names_the_side_of_films_it_never_saw(done: Recipe) -> None:
    engine = Engine.load(done.out / MODEL, max_new_tokens=30, device="cpu")
    random = np.random.default_rng(99)

    sides = [("left", "right")[number % 2] for number in range(20)]
    texts = [engine.write_findings(draw_toy(side, random), "cough").text for side in sides]

    right = sum(text == findings(side) for text, side in zip(texts, sides, strict=True))
    assert right >= 19, texts


def test_alignment_and_tuning_profit_from_the_contrastive_stage(done: Recipe, toys: Path, tmp_path: Path) -> None:
    """The same steps on a tower that has learned nothing leave more of the loss."""
    blind = make_recipe(toys, tmp_path)
    (tmp_path / "language").symlink_to(done.folder(StageName.LANGUAGE))
    (tmp_path / "contrastive").mkdir()
    finish(blind.folder(StageName.CONTRASTIVE), build_stage(blind, StageName.CONTRASTIVE).objective)

    run(blind, [StageName.ALIGNMENT, StageName.TUNING])

    for name in (StageName.ALIGNMENT, StageName.TUNING):
        seeing, unseeing = (read_losses(each.folder(name) / LOSSES)[-1].held_out_loss for each in (done, blind))
        assert seeing < 0.5 * unseeing, name


def test_a_second_run_changes_nothing_and_other_settings_are_refused(done: Recipe, toys: Path) -> None:
    made = {path: path.stat().st_mtime_ns for path in done.out.rglob("*.safetensors")}
    other = PRESET.model_copy(update={"lora": PRESET.lora.model_copy(update={"rank": 4})})

    run(done, done.stages)

    assert {path: path.stat().st_mtime_ns for path in done.out.rglob("*.safetensors")} == made
    with pytest.raises(Permanent, match="tuning was begun with other data, settings or earlier stages"):
        run(make_recipe(toys, done.out, other), done.stages)


def test_the_command_ends_with_a_model_folder(toys: Path, tmp_path: Path) -> None:
    stages = ("language", "contrastive", "alignment", "tuning")
    once = {name: getattr(PRESET, name).model_copy(update={"epochs": 1}) for name in stages}
    (tmp_path / "preset.json").write_text(PRESET.model_copy(update=once).model_dump_json(), encoding="utf-8")
    arguments = [str(toys.parent), str(tmp_path / "out"), "--preset", str(tmp_path / "preset.json"), "--limit", "64"]

    result = _invoke(*arguments)

    assert result.exit_code == 0, result.output
    assert Engine.load(tmp_path / "out" / MODEL, device="cpu").identity.name == "toy"
    assert (tmp_path / "out" / CURVES).stat().st_size > 10_000
    assert "recall at 1 of 32 films" in result.output


def test_the_command_says_in_one_line_what_is_wrong(toys: Path, tmp_path: Path) -> None:
    result = _invoke(str(toys), str(tmp_path / "out"), "--preset", "phantom", "--limit", "10")

    assert result.exit_code == 1
    assert "Stopped: 10 records are too few to hold 256 out" in result.output


def _invoke(*arguments: str) -> Result:
    app = Typer()
    app.command()(main)
    return CliRunner().invoke(app, arguments)
