"""From the published layout to logits, against transformers and peft, which know nothing of our importer."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from published_layout import BASE, BLOCKS, OWN, SHARDS, TINY, Weights, change_pickle, write_published
from torch import Tensor
from torch.nn import functional
from transformers import Dinov2Config, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration

from workers.llavarad import edition
from workers.llavarad.checkpoint import build_empty, load_weights, verify
from workers.llavarad.config import read_config
from workers.llavarad.engine import Engine
from workers.llavarad.model import LlavaRad
from workers.llavarad.published import import_published
from workers.llavarad.vision import patch_features

BEFORE, AFTER, IMAGE_ID = [1, 300, 270, 4], [29, 17, 310, 260, 3], 0
CONFIG = TINY.config


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("published")
    write_published(made)
    return made


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "llava-rad"
    import_published(source, made, edition=TINY)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> LlavaRad:
    return load(folder)


def load(folder: Path) -> LlavaRad:
    made = build_empty(read_config(folder / "config.json")).eval()
    load_weights(made, folder, verify(folder), torch.float32, torch.device("cpu"))
    return made


def image(seed: int = 7) -> Tensor:
    return torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(seed))


def stored(weights: Weights) -> Weights:
    """As numbers are after they were stored in float16, the precision the original ran in."""
    return {name: tensor.half().float() for name, tensor in weights.items()}


def read(path: Path) -> Weights:
    content: dict[str, object] = torch.load(path, weights_only=False)
    return content.get("state_dict", content)  # type: ignore[return-value]  # of a file we wrote


def merged_by_peft(source: Path) -> Weights:
    peft = pytest.importorskip("peft")
    language = CONFIG.language
    base = LlamaForCausalLM(llama_config())
    weights = read(source / BASE / SHARDS[0]) | read(source / BASE / SHARDS[1])
    kept = {name: tensor for name, tensor in weights.items() if "inv_freq" not in name}
    base.load_state_dict(kept, strict=True)
    assert base.lm_head.weight.shape == (language.vocab_size, language.hidden_size)
    with warnings.catch_warnings(action="ignore"):  # peft's own
        adapted = peft.PeftModel.from_pretrained(base.float(), source / OWN, torch_device="cpu")
        return dict(adapted.merge_and_unload().state_dict())


def llama_config() -> LlamaConfig:
    language = CONFIG.language
    return LlamaConfig(
        vocab_size=language.vocab_size,
        hidden_size=language.hidden_size,
        intermediate_size=language.intermediate_size,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        num_key_value_heads=language.key_value_heads,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )


def stock_llava() -> LlavaForConditionalGeneration:
    vision = Dinov2Config(
        hidden_size=48, num_hidden_layers=BLOCKS, num_attention_heads=4, mlp_ratio=2, image_size=56, patch_size=14
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=llama_config(),
        image_token_index=IMAGE_ID,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=CONFIG.image_tokens,
    )
    return LlavaForConditionalGeneration(config).eval()


def stock_weights(source: Path) -> Weights:
    """The published numbers by the names of LlavaForConditionalGeneration; the table is spec/llava_rad.md, 10."""
    weights = {
        name.replace("model.", "model.language_model.", 1): value for name, value in merged_by_peft(source).items()
    }
    projector = read(source / OWN / edition.PROJECTOR_FILE)
    for theirs, ours in (("0", "linear_1"), ("2", "linear_2")):
        for kind in ("weight", "bias"):
            value = projector[f"base_model.model.model.mm_projector.{theirs}.{kind}"]
            weights[f"model.multi_modal_projector.{ours}.{kind}"] = value
    weights |= {f"model.vision_tower.{name}": value for name, value in stock_tower(trunk(source)).items()}
    return stored(weights)


def trunk(source: Path) -> Weights:
    prefix = "module.visual.trunk."
    state = read(source / OWN / edition.TOWER_FILE)
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def stock_tower(timm: Weights) -> Weights:
    tower = {
        "embeddings.cls_token": timm["cls_token"],
        "embeddings.mask_token": torch.zeros(1, 48),
        "embeddings.position_embeddings": timm["pos_embed"],
    }
    for kind in ("weight", "bias"):
        tower[f"embeddings.patch_embeddings.projection.{kind}"] = timm[f"patch_embed.proj.{kind}"]
        tower[f"layernorm.{kind}"] = timm[f"norm.{kind}"]
        for n in range(BLOCKS):
            block, layer = f"blocks.{n}", f"encoder.layer.{n}"
            query, key, value = timm[f"{block}.attn.qkv.{kind}"].split(48)
            for letter, third in (("q", query), ("k", key), ("v", value)):
                tower[f"{layer}.attention.{letter}_proj.{kind}"] = third
            tower[f"{layer}.attention.o_proj.{kind}"] = timm[f"{block}.attn.proj.{kind}"]
            for part in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                tower[f"{layer}.{part}.{kind}"] = timm[f"{block}.{part}.{kind}"]
            for scale in ("1", "2"):
                tower[f"{layer}.layer_scale{scale}.lambda1"] = timm[f"{block}.ls{scale}.gamma"]
    return tower


def timm_states(weights: Weights, pixels: Tensor) -> list[Tensor]:
    """Hidden states 0 to 12 as timm's vit_base_patch14_dinov2 computes them, written out by hand; no final norm."""
    w = weights
    patches = functional.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14)
    x = torch.cat([w["cls_token"], patches.flatten(2).transpose(1, 2)], dim=1) + w["pos_embed"]
    states = [x]
    for n in range(BLOCKS):
        b = {name.removeprefix(f"blocks.{n}."): value for name, value in w.items() if name.startswith(f"blocks.{n}.")}
        y = functional.layer_norm(x, (48,), b["norm1.weight"], b["norm1.bias"], 1e-6)
        qkv = functional.linear(y, b["attn.qkv.weight"], b["attn.qkv.bias"]).reshape(1, -1, 3, 4, 12)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-2, -1)) * 12**-0.5).softmax(-1) @ v
        y = functional.linear(y.transpose(1, 2).reshape(1, -1, 48), b["attn.proj.weight"], b["attn.proj.bias"])
        x = x + b["ls1.gamma"] * y
        y = functional.layer_norm(x, (48,), b["norm2.weight"], b["norm2.bias"], 1e-6)
        y = functional.gelu(functional.linear(y, b["mlp.fc1.weight"], b["mlp.fc1.bias"]))
        x = x + b["ls2.gamma"] * functional.linear(y, b["mlp.fc2.weight"], b["mlp.fc2.bias"])
        states.append(x)
    return states


def test_logits_equal_those_of_stock_llava_with_weights_merged_by_peft(model: LlavaRad, source: Path) -> None:
    reference = stock_llava()
    reference.load_state_dict(stock_weights(source), strict=True)
    ids = torch.tensor([[*BEFORE, *[IMAGE_ID] * CONFIG.image_tokens, *AFTER]])

    for seed in range(3):
        theirs = reference(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=image(seed)).logits
        ours = model(image(seed), BEFORE, AFTER)

        assert torch.allclose(ours, theirs, atol=1e-5, rtol=0)
    assert theirs.std() > 0.1


def test_tower_computes_what_timm_computes(model: LlavaRad, source: Path) -> None:
    states = timm_states(stored(trunk(source)), image())
    ours = model.vision_tower(image(), output_hidden_states=True).hidden_states

    assert len(states) == len(ours) == BLOCKS + 1
    for expected, found in zip(states, ours, strict=True):
        assert torch.allclose(found, expected, atol=1e-4, rtol=0)
    features = patch_features(model.vision_tower, image(), blocks=CONFIG.feature_blocks)
    assert torch.allclose(features, states[-2][:, 1:], atol=1e-4, rtol=0)


def test_every_linear_of_the_language_model_is_adapted(model: LlavaRad, source: Path) -> None:
    base = read(source / BASE / SHARDS[0]) | read(source / BASE / SHARDS[1])
    ours = model.language_model.state_dict()
    changed = {name for name, tensor in ours.items() if not torch.equal(tensor, base[name].float())}
    assert changed == {name for name in ours if name.endswith("_proj.weight")}
    assert len(changed) == 7 * CONFIG.language.layers


def test_folder_holds_what_a_model_folder_holds_and_the_notice(folder: Path) -> None:
    names = {"config.json", "tokenizer.json", "model.safetensors", "NOTICE", "LICENSE"}
    assert set(verify(folder)) == names
    assert {path.name for path in folder.iterdir()} == {*names, "manifest.json"}
    notice = (folder / "NOTICE").read_text()
    assert "non-commercial" in notice
    assert "LLAMA 2 Community License" in notice
    assert TINY.own.revision in notice
    assert json.loads((folder / "config.json").read_text())["licence"] == "research-only"


def test_imported_model_loads_as_an_engine(folder: Path) -> None:
    assert Engine.load(folder, device="cpu").identity.name == "LLaVA-Rad"


def test_pickles_of_old_torch_import_too(folder: Path, tmp_path: Path) -> None:
    write_published(tmp_path / "old", is_legacy=True)
    import_published(tmp_path / "old", tmp_path / "model", edition=TINY)
    assert verify(tmp_path / "model") == verify(folder)


def test_tower_outside_of_a_parallel_wrapper_with_another_last_norm_imports_too(folder: Path, tmp_path: Path) -> None:
    def rename(state: Weights) -> None:
        for name in list(state):
            state[name.removeprefix("module.").replace("trunk.norm.", "trunk.fc_norm.")] = state.pop(name)

    write_published(tmp_path / "source")
    change_pickle(tmp_path / "source" / OWN / edition.TOWER_FILE, rename)

    import_published(tmp_path / "source", tmp_path / "model", edition=TINY)

    assert verify(tmp_path / "model") == verify(folder)
