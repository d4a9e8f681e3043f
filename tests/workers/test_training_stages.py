"""Each stage's loss and what it may change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Parameter
from training_toys import PRESET, make_recipe, write_toys

from dicom_node.errors import Permanent
from workers.llavarad.checkpoint import build_empty, load_weights, verify
from workers.llavarad.model import LlavaRad
from workers.training.films import normalise
from workers.training.loop import Objective, train
from workers.training.pictures import FreshFeatures, keep_features
from workers.training.plan import Indices
from workers.training.recipe import Recipe, StageName
from workers.training.run import export
from workers.training.samples import plain_sample
from workers.training.stages import build_stage
from workers.training.state import Tensors, finish, is_done, trainable

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.* is deprecated and will be removed in v6:FutureWarning"),
]
SHORT = PRESET.model_copy(
    update={
        name: getattr(PRESET, name).model_copy(update={"epochs": 1})
        for name in ("language", "contrastive", "alignment", "tuning")
    }
)
FIRST = np.arange(6)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Language model and tower are done, without having learned; the projector is not."""
    folder = tmp_path_factory.mktemp("stages")
    made = make_recipe(write_toys(folder / "toys", 80), folder / "run", SHORT)
    for name in (StageName.LANGUAGE, StageName.CONTRASTIVE):
        made.folder(name).mkdir()
        finish(made.folder(name), build_stage(made, name).objective)
    return made


@pytest.mark.parametrize("name", [StageName.LANGUAGE, StageName.ALIGNMENT])
def test_a_batch_is_the_sum_of_its_records_in_spite_of_padding(recipe: Recipe, name: StageName) -> None:
    objective = build_stage(recipe, name).objective

    whole = _sum(objective, FIRST)

    assert whole == pytest.approx(sum(_sum(objective, FIRST[[each]]) for each in FIRST), rel=1e-5)
    assert objective.weight(FIRST) == sum(objective.weight(FIRST[[each]]) for each in FIRST)


def test_the_loss_is_that_of_the_model_at_work(recipe: Recipe) -> None:
    """Against the engine's own model, which pads nothing and computes the features itself."""
    objective = build_stage(recipe, StageName.ALIGNMENT).objective
    sample = plain_sample(recipe.chunks, recipe.records[0])
    image = torch.from_numpy(normalise(recipe.films()[:1]))

    with torch.no_grad():
        logits = _model_of(recipe, objective)(image, sample.before, [*sample.after, *sample.answer])
    scores = logits[0, -len(sample.answer) - 1 : -1].log_softmax(dim=-1)
    expected = -scores[torch.arange(len(sample.answer)), list(sample.answer)].sum()

    assert _sum(objective, FIRST[:1]) == pytest.approx(float(expected), rel=1e-3)  # kept features are float16


def test_a_bfloat16_language_model_gives_a_close_loss_and_gradients(recipe: Recipe) -> None:
    """As on a GPU: weights that learn in float32, the frozen ones and the arithmetic in bfloat16."""
    objective = build_stage(recipe, StageName.ALIGNMENT).objective
    exact = _sum(objective, FIRST)
    objective.language.to(torch.bfloat16)

    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(FIRST)
    loss.backward()

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=0.02)
    assert all(each.grad is not None and each.grad.dtype == torch.float32 for each in _learning(objective))


def test_kept_features_are_the_towers(recipe: Recipe) -> None:
    fresh = FreshFeatures(recipe.tower(), recipe.films(), blocks=recipe.config.feature_blocks)
    kept = keep_features(fresh, len(recipe.records), recipe.out / "features.npy", recipe.progress)

    assert kept(FIRST).dtype == torch.float16
    assert torch.allclose(kept(FIRST).float(), fresh(FIRST), atol=1e-2)


def test_alignment_changes_the_projector_only(recipe: Recipe) -> None:
    stage = build_stage(recipe, StageName.ALIGNMENT)
    before = _copy(stage.objective)

    train(stage, recipe.accelerator, recipe.progress)

    changed = _changed(before, stage.objective)
    assert changed == set(trainable(stage.objective))
    assert {name.rsplit(".", 2)[0] for name in changed} == {"pictures.projector"}


def test_tuning_changes_projector_and_adapter_and_merges_exactly(recipe: Recipe, tmp_path: Path) -> None:
    if not is_done(recipe.folder(StageName.ALIGNMENT)):
        recipe.folder(StageName.ALIGNMENT).mkdir(exist_ok=True)
        finish(recipe.folder(StageName.ALIGNMENT), build_stage(recipe, StageName.ALIGNMENT).objective)
    stage = build_stage(recipe, StageName.TUNING)
    before = _copy(stage.objective)

    train(stage, recipe.accelerator, recipe.progress)
    export(recipe, tmp_path / "model")

    changed = _changed(before, stage.objective)
    assert changed == set(trainable(stage.objective))
    assert {name for name in changed if "lora_" not in name} == _projector_names(stage.objective)
    assert sum("lora_A" in name for name in changed) == 7 * recipe.config.language.layers
    ids = torch.tensor([[1, 5, 9, 14, 20]])
    with torch.no_grad():
        unmerged = stage.objective.eval().language(input_ids=ids).logits
        merged = _load(tmp_path / "model", recipe).language_model(input_ids=ids).logits
    assert torch.allclose(merged, unmerged, atol=2e-2)  # the folder holds float16
    assert not torch.allclose(merged, recipe.language()(input_ids=ids).logits, atol=2e-2)


def test_a_stage_needs_those_before_it(tmp_path: Path) -> None:
    lone = make_recipe(write_toys(tmp_path / "toys", 80), tmp_path / "run", SHORT)

    with pytest.raises(Permanent, match="no finished stage language: run it first"):
        build_stage(lone, StageName.ALIGNMENT)


def test_a_preset_without_a_language_stage_asks_for_the_folders(tmp_path: Path) -> None:
    published = SHORT.model_copy(update={"language": None})
    lone = make_recipe(write_toys(tmp_path / "toys", 80), tmp_path / "run", published)

    assert StageName.LANGUAGE not in lone.stages
    with pytest.raises(Permanent, match="this preset needs --language"):
        build_stage(lone, StageName.TUNING)


def _sum(objective: Objective, indices: Indices) -> float:
    with torch.no_grad():
        return float(objective.eval()(indices))


def _learning(objective: Objective) -> list[Parameter]:
    return [each for each in objective.parameters() if each.requires_grad]


def _copy(objective: Objective) -> Tensors:
    return {name: each.detach().clone() for name, each in objective.named_parameters()}


def _changed(before: Tensors, objective: Objective) -> set[str]:
    return {name for name, each in objective.named_parameters() if not torch.equal(each, before[name])}


def _projector_names(objective: Objective) -> set[str]:
    return {name for name, _ in objective.named_parameters() if name.startswith("pictures.projector.")}


def _model_of(recipe: Recipe, objective: Objective) -> LlavaRad:
    model = LlavaRad(recipe.config).eval()
    model.vision_tower.load_state_dict(recipe.tower().state_dict())
    model.projector.load_state_dict(objective.pictures.projector.state_dict())
    model.language_model.load_state_dict(recipe.language().state_dict())
    return model


def _load(folder: Path, recipe: Recipe) -> LlavaRad:
    model = build_empty(recipe.config).eval()
    load_weights(model, folder, verify(folder), torch.float32, torch.device("cpu"))
    return model
