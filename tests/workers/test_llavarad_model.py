"""Our model against transformers' own LLaVA, which shares the parts but not the way they are put together."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from transformers import Dinov2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from workers.llavarad.checkpoint import build_empty, expected_shapes
from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig
from workers.llavarad.model import LlavaRad
from workers.llavarad.vision import patch_features

CONFIG = ModelConfig(
    name="test",
    version="0",
    image_size_px=56,
    vision=VisionConfig(hidden_size=48, layers=4, heads=4, mlp_ratio=2),
    language=LanguageConfig(
        vocab_size=120, hidden_size=64, intermediate_size=112, layers=3, heads=4, key_value_heads=2, rope_theta=5_000.0
    ),
)
BEFORE, AFTER = [1, 17, 30, 4], [9, 21, 5, 60, 3]
IMAGE_ID = 0


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model() -> LlavaRad:
    torch.manual_seed(1)
    made = LlavaRad(CONFIG).eval()
    for tensor in made.parameters():
        torch.nn.init.normal_(tensor, std=0.3)  # strong enough for a wrong layer or a wrong place to show
    return made


@pytest.fixture(scope="module")
def reference(model: LlavaRad) -> LlavaForConditionalGeneration:
    stock = LlavaForConditionalGeneration(_stock_config()).eval()
    parts = {"vision_tower.": "model.vision_tower.", "projector.": "model.multi_modal_projector."}
    parts |= {"language_model.model.": "model.language_model.", "language_model.lm_head.": "lm_head."}
    weights = {}
    for name, tensor in model.state_dict().items():
        prefix = next(each for each in parts if name.startswith(each))
        weights[parts[prefix] + name.removeprefix(prefix)] = tensor
    stock.load_state_dict(weights, strict=True)
    return stock


def _stock_config() -> LlavaConfig:
    vision, language = CONFIG.vision, CONFIG.language
    return LlavaConfig(
        vision_config=Dinov2Config(
            hidden_size=vision.hidden_size,
            num_hidden_layers=vision.layers,
            num_attention_heads=vision.heads,
            mlp_ratio=vision.mlp_ratio,
            image_size=CONFIG.image_size_px,
            patch_size=vision.patch_size_px,
            use_mask_token=False,
        ),
        text_config=LlamaConfig(
            vocab_size=language.vocab_size,
            hidden_size=language.hidden_size,
            intermediate_size=language.intermediate_size,
            num_hidden_layers=language.layers,
            num_attention_heads=language.heads,
            num_key_value_heads=language.key_value_heads,
            rms_norm_eps=language.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": language.rope_theta},
        ),
        image_token_index=IMAGE_ID,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=CONFIG.image_tokens,
    )


def _image() -> Tensor:
    return torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(7))


def _stock_inputs() -> dict[str, Tensor]:
    ids = torch.tensor([[*BEFORE, *[IMAGE_ID] * CONFIG.image_tokens, *AFTER]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": _image()}


def test_logits_equal_those_of_stock_llava(model: LlavaRad, reference: LlavaForConditionalGeneration) -> None:
    ours = model(_image(), BEFORE, AFTER)
    theirs = reference(**_stock_inputs()).logits

    assert ours.shape == (1, len(BEFORE) + CONFIG.image_tokens + len(AFTER), CONFIG.language.vocab_size)
    assert torch.allclose(ours, theirs, atol=1e-5, rtol=0)
    assert torch.allclose(model(_image(), BEFORE, AFTER, last=1), theirs[:, -1:], atol=1e-5, rtol=0)


def test_greedy_ids_equal_those_of_stock_llava(model: LlavaRad, reference: LlavaForConditionalGeneration) -> None:
    inputs = _stock_inputs()
    theirs = reference.generate(**inputs, do_sample=False, max_new_tokens=12, pad_token_id=0, eos_token_id=2)

    ours = model.write(_image(), BEFORE, AFTER, max_new_tokens=12).ids

    new_ids = theirs[0, inputs["input_ids"].shape[1] :].tolist()
    assert ours == (new_ids[: new_ids.index(2)] if 2 in new_ids else new_ids)


def _with_end_mark(model: LlavaRad, eos_id: int) -> LlavaRad:
    language = CONFIG.language.model_copy(update={"eos_id": eos_id})
    made = LlavaRad(CONFIG.model_copy(update={"language": language})).eval()
    made.load_state_dict(model.state_dict())
    return made


def test_end_mark_stops_the_writing_and_is_not_returned(model: LlavaRad) -> None:
    endless = _with_end_mark(model, 119).write(_image(), BEFORE, AFTER, max_new_tokens=6).ids
    end = endless[-1]

    ids = _with_end_mark(model, end).write(_image(), BEFORE, AFTER, max_new_tokens=6).ids

    assert len(endless) == 6
    assert ids == endless[: endless.index(end)]


def test_features_are_the_second_last_hidden_state_without_cls_and_norm(model: LlavaRad) -> None:
    tower = model.vision_tower
    states = tower(_image(), output_hidden_states=True).hidden_states

    features = patch_features(tower, _image(), blocks=CONFIG.feature_blocks)

    assert len(states) == CONFIG.vision.layers + 1
    assert torch.allclose(features, states[-2][:, 1:], atol=1e-6, rtol=0)
    assert features.shape == (1, 16, 48)


def test_features_do_not_depend_on_the_last_block_and_the_final_norm(model: LlavaRad) -> None:
    changed = LlavaRad(CONFIG).eval()
    changed.load_state_dict(model.state_dict())
    for part in (changed.vision_tower.encoder.layer[-1], changed.vision_tower.layernorm):
        for tensor in part.parameters():
            tensor.zero_()

    before, after = (patch_features(each.vision_tower, _image(), blocks=3) for each in (model, changed))

    assert torch.equal(before, after)


def test_projector_uses_the_exact_gelu(model: LlavaRad) -> None:
    features = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(3))
    first, second = model.projector.linear_1(features), model.projector.linear_2
    exact = second(first * 0.5 * (1 + torch.erf(first / 2**0.5)))
    assert torch.allclose(model.projector(features), exact, atol=1e-5)


def test_published_sizes_give_the_published_numbers_of_tensors_and_parameters() -> None:
    model = build_empty(ModelConfig(name="LLaVA-Rad", version="1"))
    shapes = expected_shapes(model)

    count = {part: sum(name.startswith(part) for name in shapes) for part in ("vision", "projector", "language")}
    assert count == {"vision": 222, "projector": 4, "language": 291}
    assert sum(tensor.numel() for tensor in model.parameters()) == 6_844_926_464
    assert sum(tensor.numel() for tensor in model.vision_tower.parameters()) == 86_579_712
    assert model.config.image_tokens == 1369
    assert model.config.feature_blocks == 11
