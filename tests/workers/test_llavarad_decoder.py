"""Our steps against transformers' own writing, and what they note of attention against its slow attention."""

import pytest
import torch
from torch import Tensor

from dicom_node.errors import EngineLost
from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig
from workers.llavarad.decoder import Decoder, Written
from workers.llavarad.model import LlavaRad

pytestmark = pytest.mark.usefixtures("one_thread")

BEFORE, AFTER = [1, 17, 30, 4], [9, 21, 5, 60, 3]
TOKENS = 40
NOTHING = 119  # an end mark that seldom comes
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")],
    ),
]


def _config(key_heads: int = 2, eos_id: int = NOTHING) -> ModelConfig:
    language = LanguageConfig(
        vocab_size=120,
        hidden_size=64,
        intermediate_size=112,
        layers=3,
        heads=4,
        key_value_heads=key_heads,
        rope_theta=5_000.0,
        eos_id=eos_id,
    )
    vision = VisionConfig(hidden_size=48, layers=4, heads=4, mlp_ratio=2)
    return ModelConfig(name="test", version="0", image_size_px=56, vision=vision, language=language)


def _model(config: ModelConfig, seed: int = 1, device: str = "cpu") -> LlavaRad:
    torch.manual_seed(seed)
    made = LlavaRad(config).eval().requires_grad_(False)
    for tensor in made.parameters():
        torch.nn.init.normal_(tensor, std=0.3)
    return made.to(device)


def _image() -> Tensor:
    return torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(2))


def _write(model: LlavaRad, max_new_tokens: int = TOKENS) -> Written:
    return model.write(_image(), BEFORE, AFTER, max_new_tokens=max_new_tokens)


def _stock_ids(model: LlavaRad, max_new_tokens: int = TOKENS) -> list[int]:
    prompt = model.embed(_image(), BEFORE, AFTER)
    mask = torch.ones(prompt.shape[:2], dtype=torch.long, device=prompt.device)
    eos_id = model.config.language.eos_id
    made = model.language_model.generate(
        inputs_embeds=prompt, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=eos_id,
        pad_token_id=0,
    )  # fmt: skip
    return [each for each in made[0].tolist() if each != eos_id]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_written_is_what_transformers_writes(key_heads: int, seed: int, device: str) -> None:
    model = _model(_config(key_heads), seed, device)
    expected = _stock_ids(model)

    assert _write(model).ids == expected
    assert _write(model).ids == expected


@pytest.mark.parametrize("device", DEVICES)
def test_the_end_mark_ends_the_text(device: str) -> None:
    endless = _stock_ids(_model(_config(), device=device))
    end = next(each for at, each in enumerate(endless) if at > 4 and each not in endless[:at])

    written = _write(_model(_config(eos_id=end), device=device))

    assert written.ids == endless[: endless.index(end)]
    assert len(written.looked) == len(written.ids)


def test_nothing_is_written_where_the_end_mark_comes_first() -> None:
    first = _stock_ids(_model(_config()))[0]

    written = _write(_model(_config(eos_id=first)))

    assert (written.ids, len(written.looked)) == ([], 0)


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_is_written_than_the_limit(limit: int) -> None:
    model = _model(_config())

    written = _write(model, limit)

    assert written.ids == _stock_ids(model)[:limit]
    assert len(written.looked) == limit


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key_heads", [2, 4])
def test_looked_is_the_mean_weight_of_the_last_half_of_the_layers(key_heads: int, device: str) -> None:
    model = _model(_config(key_heads), device=device)
    written = _write(model, 6)

    table = model.language_model.get_input_embeddings()
    words = table(torch.tensor([written.ids[:-1]], device=device))
    embeddings = torch.cat([model.embed(_image(), BEFORE, AFTER), words], dim=1)
    model.language_model.set_attn_implementation("eager")
    layers = model.language_model(inputs_embeds=embeddings, output_attentions=True).attentions[1:]
    expected = torch.stack(layers).mean((0, 1, 2))[-6:]

    torch.testing.assert_close(written.looked[:, : expected.shape[1]], expected, atol=1e-5, rtol=0)


def test_memory_is_kept_and_grows_for_a_longer_prompt() -> None:
    model = _model(_config())
    first = model.make_room(BEFORE, AFTER, max_new_tokens=TOKENS)
    alone = _write(model).ids
    assert model.make_room(BEFORE, AFTER, max_new_tokens=TOKENS + 20) is first

    longer = model.write(_image(), BEFORE, AFTER * 60, max_new_tokens=TOKENS).ids
    assert model.make_room(BEFORE, AFTER, max_new_tokens=TOKENS) is not first

    assert _write(model).ids == alone
    assert _model(_config()).write(_image(), BEFORE, AFTER * 60, max_new_tokens=TOKENS).ids == longer


def test_a_text_that_went_wrong_leaves_nothing_to_the_next() -> None:
    model = _model(_config())
    expected = _write(model).ids

    with pytest.raises(EngineLost, match="not finite"):
        model.write(_image() * torch.nan, BEFORE, AFTER, max_new_tokens=TOKENS)

    assert _write(model).ids == expected


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_words_that_no_number_chose_are_no_draft(number: float) -> None:
    model = _model(_config())
    model.language_model.lm_head.weight[7, 0] = number  # what attention sees is sound

    with pytest.raises(EngineLost, match="not finite"):
        _write(model)


def test_what_does_not_fit_is_refused() -> None:
    model = _model(_config())
    decoder = Decoder(model.language_model, room=63)

    with pytest.raises(ValueError, match="no room for 24 tokens and 40 after them: 63"):
        decoder.write(model.embed(_image(), BEFORE, AFTER[:-1]), AFTER[-1], eos_id=NOTHING, max_new_tokens=40)


def test_logits_are_still_those_of_the_model() -> None:
    model, untouched = _model(_config()), _model(_config())
    _write(model)

    torch.testing.assert_close(model(_image(), BEFORE, AFTER), untouched(_image(), BEFORE, AFTER), atol=1e-6, rtol=0)
    assert model.state_dict().keys() == untouched.state_dict().keys()
