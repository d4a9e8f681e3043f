"""The recipe as for the 7B model: it begins with folders of published weights, which here are tiny."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_layout import VOCAB_SIZE, sentencepiece_model
from safetensors.torch import load_file, save_file
from training_toys import PRESET, make_recipe, write_toys
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM

from dicom_node.errors import BadCheckpoint, Permanent
from workers.llavarad.checkpoint import build_empty, load_weights, verify
from workers.llavarad.engine import Engine
from workers.llavarad.lora import is_adapted
from workers.training.preset import Preset
from workers.training.recipe import Recipe, StageName
from workers.training.run import MODEL, run
from workers.training.sources import Sources, first_tower, published_language, text_encoder

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.* is deprecated and will be removed in v6:FutureWarning"),
]


def _short(name: str) -> dict[str, object]:
    return {name: getattr(PRESET, name).model_copy(update={"epochs": 1, "batch": 16, "at_once": 8})}


def _preset() -> Preset:
    language = PRESET.model.language.model_copy(update={"vocab_size": VOCAB_SIZE})
    stages = _short("contrastive") | _short("alignment") | _short("tuning")
    changes = {"model": PRESET.model.model_copy(update={"language": language}), "language": None, "held_out": 16}
    text = PRESET.text.model_copy(update={"by_fact": False})
    how = {"gradient_checkpointing": True, "keep_features": False}
    return PRESET.model_copy(update=stages | changes | how | {"text": text})


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Vicuna, PubMedBERT and DINOv2 in small, saved as the hub has them."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(5)
    _llama().save_pretrained(folder / "vicuna")
    (folder / "vicuna" / "tokenizer.model").write_bytes(sentencepiece_model())
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=40, **sizes)).save_pretrained(folder / "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "a", "square", "left", "."]
    (folder / "bert" / "vocab.txt").write_text("\n".join(dict.fromkeys(words)) + "\n", encoding="utf-8")
    _dinov2().save_pretrained(folder / "dinov2")
    return Sources(folder / "vicuna", folder / "bert", folder / "dinov2")


def _llama() -> LlamaForCausalLM:
    language = _preset().model.language
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=language.vocab_size,
            hidden_size=language.hidden_size,
            intermediate_size=language.intermediate_size,
            num_hidden_layers=language.layers,
            num_attention_heads=language.heads,
            num_key_value_heads=language.key_value_heads,
            tie_word_embeddings=False,
        )
    )


def _dinov2() -> Dinov2Model:
    vision, model = PRESET.model.vision, PRESET.model
    return Dinov2Model(
        Dinov2Config(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            mlp_ratio=vision.mlp_ratio,
            image_size=model.image_size_px,
            patch_size=vision.patch_size_px,
        )
    )


@pytest.fixture
def recipe(sources: Sources, tmp_path: Path) -> Recipe:
    made = make_recipe(write_toys(tmp_path / "toys", 48), tmp_path / "run", _preset())
    return replace(made, sources=sources)


def test_three_stages_from_published_parts_end_with_a_model_folder(recipe: Recipe) -> None:
    run(recipe, recipe.stages)

    engine = Engine.load(recipe.out / MODEL, max_new_tokens=5, device="cpu")
    model = build_empty(recipe.config)
    load_weights(model, recipe.out / MODEL, verify(recipe.out / MODEL), torch.float32, torch.device("cpu"))
    base = recipe.language().state_dict()
    made = model.language_model.state_dict()
    assert recipe.stages == [StageName.CONTRASTIVE, StageName.ALIGNMENT, StageName.TUNING]
    assert engine.identity.name == "toy"
    assert all(torch.equal(made[name], base[name].half().float()) for name in base if not is_adapted(name))


def test_the_tower_begins_as_published(recipe: Recipe, sources: Sources) -> None:
    published = Dinov2Model.from_pretrained(sources.tower).state_dict()

    tower = first_tower(recipe.config, sources, 0).state_dict()

    assert published.keys() - tower.keys() == {"embeddings.mask_token"}
    assert all(torch.equal(tower[name], published[name]) for name in tower)


@pytest.mark.parametrize(("lacking", "option"), [("language", "--language"), ("text", "--text-encoder")])
def test_a_folder_that_is_not_named_is_asked_for(recipe: Recipe, sources: Sources, lacking: str, option: str) -> None:
    with pytest.raises(Permanent, match=f"this preset needs {option}"):
        run(replace(recipe, sources=replace(sources, **{lacking: None})), recipe.stages)


def test_a_folder_of_something_else_is_named(recipe: Recipe, sources: Sources, tmp_path: Path) -> None:
    run(recipe, [StageName.CONTRASTIVE])
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.model").write_bytes(sentencepiece_model())

    with pytest.raises(BadCheckpoint, match="other holds no Llama model"):
        run(replace(recipe, sources=replace(sources, language=other)), [StageName.ALIGNMENT])


def test_folders_in_each_others_place_are_refused(recipe: Recipe, sources: Sources) -> None:
    """Whatever a folder lacks would be random, and the run would take weeks to show it."""
    with pytest.raises(BadCheckpoint, match="bert holds no Llama model"):
        published_language(replace(sources, language=sources.text))
    with pytest.raises(BadCheckpoint, match="vicuna holds no BERT model"):
        text_encoder(recipe.preset, replace(sources, text=sources.language), vocab_size=VOCAB_SIZE)
    with pytest.raises(BadCheckpoint, match="bert holds no DINOv2 model"):
        first_tower(recipe.config, replace(sources, tower=sources.text), 0)


def test_a_folder_that_was_not_copied_whole_is_refused(sources: Sources, tmp_path: Path) -> None:
    shutil.copytree(sources.language or tmp_path, tmp_path / "half")
    weights = load_file(tmp_path / "half" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(BadCheckpoint, match=r"half holds no Llama model, or not all of it: model\.norm\.weight"):
        published_language(Sources(tmp_path / "half"))


def test_a_tower_of_another_size_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    Dinov2Model(Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(tmp_path)

    with pytest.raises(BadCheckpoint, match="tensor embeddings"):
        first_tower(recipe.config, Sources(tower=tmp_path), 0)
