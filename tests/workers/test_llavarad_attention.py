"""What the model attended to while it wrote, against the weights that transformers' slow attention gives itself."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dicom_node.flags import Span
from dicom_node.sentences import find_sentences
from workers.llavarad.attention import map_sentences, watch
from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig
from workers.llavarad.model import LlavaRad

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = ModelConfig(
    name="test",
    version="0",
    image_size_px=56,
    vision=VisionConfig(hidden_size=48, layers=4, heads=4, mlp_ratio=2),
    language=LanguageConfig(
        vocab_size=120, hidden_size=64, intermediate_size=112, layers=3, heads=4, key_value_heads=2, eos_id=119
    ),
)
BEFORE, AFTER = [1, 17, 30, 4], [9, 21, 5, 60, 3]
IMAGE = slice(len(BEFORE), len(BEFORE) + CONFIG.image_tokens)
WATCHED = slice(1, 3)  # the last half of three layers, the middle one too
TOKENS = 6


@pytest.fixture
def model() -> LlavaRad:
    torch.manual_seed(1)
    made = LlavaRad(CONFIG).eval().requires_grad_(False)
    for tensor in made.parameters():
        torch.nn.init.normal_(tensor, std=0.3)
    return made


def _image() -> Tensor:
    return torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(2))


def _weights_of_eager(model: LlavaRad, ids: list[int]) -> Tensor:
    """(tokens, patches) by one pass over the finished text."""
    written = model.language_model.get_input_embeddings()(torch.tensor([ids[:-1]]))
    embeddings = torch.cat([model.embed(_image(), BEFORE, AFTER), written], dim=1)
    model.language_model.set_attn_implementation("eager")
    layers = model.language_model(inputs_embeds=embeddings, output_attentions=True).attentions[WATCHED]
    newest = torch.stack(layers).mean((0, 1, 2))[-len(ids) :]
    return newest[:, IMAGE]


def test_rows_are_the_mean_weights_of_the_last_half_of_the_layers(model: LlavaRad) -> None:
    with watch(model.language_model, IMAGE) as gaze:
        ids = model.write(_image(), BEFORE, AFTER, max_new_tokens=TOKENS)

    rows = gaze.rows()

    assert rows.shape == (len(ids), CONFIG.image_tokens) == (TOKENS, 16)
    np.testing.assert_allclose(rows, _weights_of_eager(model, ids).numpy(), atol=1e-5)


def test_watching_changes_nothing_and_ends(model: LlavaRad) -> None:
    alone = model.write(_image(), BEFORE, AFTER, max_new_tokens=TOKENS)
    with watch(model.language_model, IMAGE) as gaze:
        watched = model.write(_image(), BEFORE, AFTER, max_new_tokens=TOKENS)
    model.write(_image(), BEFORE, AFTER, max_new_tokens=TOKENS)

    assert watched == alone
    assert len(gaze.rows()) == TOKENS


def test_a_map_is_the_mean_of_its_sentence_s_tokens_and_its_strongest_patch_is_white() -> None:
    rows = np.zeros((4, 4), np.float32)
    rows[0, 0], rows[1, 0], rows[1, 1] = 0.2, 0.2, 0.2  # two tokens of the first sentence
    rows[2, 3] = 0.1  # one of the second
    rows[3, 2] = 0.9  # of neither

    maps = map_sentences(rows, [(0, 6), (7, 12)], [3, 6, 12, 20])

    assert maps.dtype == np.uint8
    assert maps.tolist() == [[[255, 128], [0, 0]], [[0, 0], [0, 255]]]


def test_a_sentence_without_tokens_has_a_black_map() -> None:
    assert map_sentences(np.ones((1, 4), np.float32), [(5, 9)], [3]).max() == 0


def test_no_sentence_gives_no_map() -> None:
    assert map_sentences(np.ones((1, 4), np.float32), [], [3]).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Clear. No effusion.", [(0, 6), (7, 19)]),
        ("A nodule of 1.5 cm.\n\nDr. Who was told!", [(0, 19), (21, 38)]),
        ("no end", [(0, 6)]),
        ("...", []),
    ],
)
def test_sentences_end_at_their_marks_and_at_line_ends(text: str, spans: list[Span]) -> None:
    assert find_sentences(text) == spans
