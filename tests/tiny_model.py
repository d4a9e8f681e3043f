"""A model of LLaVA-Rad's architecture that is small, quick to load, and knows nothing.

Its weights are random. Only the order of the words is wired, so that it writes two sentences and stops: each word of
`PLACES` carries the number of its place in dimensions of the embedding that no layer writes to, and the output layer
forbids every word of another place than the next. Which word of a place is written depends on the image by chance.
"""

import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from dicom_node.errors import BadCheckpoint
from workers.llavarad.checkpoint import (
    CONFIG,
    SINGLE_WEIGHTS,
    TOKENIZER,
    build_empty,
    expected_shapes,
    verify,
    write_manifest,
)
from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig
from workers.llavarad.llama_tokenizer import SPACE
from workers.llavarad.prompt import BEFORE_IMAGE, WITHOUT_INDICATION
from workers.llavarad.tiny_tokenizer import train_tokenizer

NAME, VERSION = "LLaVA-Rad demonstration (random weights)", "tiny-0"
# A word stands in one place only: its token alone says which place comes next.
# The words claim nothing about an image, whichever chance picks.
PLACES: tuple[tuple[str, ...], ...] = (
    ("Demonstration", "Sample", "Trial"),
    ("text", "wording", "output"),
    ("from", "of"),
    ("random", "untrained", "arbitrary"),
    ("weights.", "numbers.", "parameters."),
    ("Nothing",),
    ("here", "above", "written"),
    ("describes", "concerns", "depicts"),
    ("this", "the"),
    ("film.", "image.", "picture."),
)
_SENTENCES = (BEFORE_IMAGE, WITHOUT_INDICATION + " ASSISTANT:", *(" ".join(place) for place in PLACES))
_PLACE_WEIGHT, _FORBIDDEN, _IMAGE_GAIN = 8.0, -50.0, 4.0
_VISION = VisionConfig(hidden_size=48, layers=3, heads=4, mlp_ratio=2)


def write_tiny_model(dest: Path, *, seed: int = 0) -> None:
    """Make the model's folder; the same seed gives the same bytes.

    The folder appears whole or not at all. One that is there already and verifies is left as it is; one that does not
    raises BadCheckpoint.
    """
    if dest.is_dir() and any(dest.iterdir()):
        verify(dest)
        return
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name}-") as scratch:
        made = Path(scratch) / dest.name
        made.mkdir()
        _write_files(made, seed)
        _move(made, dest)


def _write_files(folder: Path, seed: int) -> None:
    tokenizer = train_tokenizer(_SENTENCES)
    config = _config(tokenizer.get_vocab_size())
    (folder / CONFIG).write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / TOKENIZER).write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    save_file(_weights(config, tokenizer, seed), folder / SINGLE_WEIGHTS)
    write_manifest(folder)


def _move(made: Path, dest: Path) -> None:
    try:
        made.rename(dest)
    except OSError as error:
        # Another process was faster, which is well if what it made is whole.
        if not dest.is_dir():
            raise BadCheckpoint(f"cannot make the model at {dest}: {error.strerror}") from error
        verify(dest)


def _config(vocab_size: int) -> ModelConfig:
    language = LanguageConfig(
        vocab_size=vocab_size, hidden_size=64, intermediate_size=128, layers=2, heads=4, key_value_heads=4
    )
    return ModelConfig(
        name=NAME, version=VERSION, licence="synthetic", image_size_px=70, vision=_VISION, language=language
    )


def _weights(config: ModelConfig, tokenizer: Tokenizer, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = expected_shapes(build_empty(config))
    weights = {name: _random_tensor(name, shape, random) for name, shape in shapes.items()}
    _wire_places(weights, tokenizer, config.language.eos_id)
    return weights


def _random_tensor(name: str, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    if "norm" in name and name.endswith("weight"):
        return torch.ones(shape)
    if name.endswith("bias"):
        return torch.zeros(shape)
    scale = 1.0 if len(shape) == 1 else shape[-1] ** -0.5
    return torch.randn(shape, generator=random) * scale


def _wire_places(weights: dict[str, Tensor], tokenizer: Tokenizer, eos_id: int) -> None:
    """Dimension p of the embedding says "place p is done" (0: nothing is written yet) and no layer writes to it."""
    done = len(PLACES) + 1
    embedding = weights["language_model.model.embed_tokens.weight"]
    output = weights["language_model.lm_head.weight"]
    embedding[:, :done] = 0.0
    embedding[:, 0] = _PLACE_WEIGHT
    output[:, :done] = _FORBIDDEN
    for place, words in enumerate(PLACES, start=1):
        ids = [tokenizer.token_to_id(SPACE + word) for word in words]
        embedding[ids, 0] = 0.0
        embedding[ids, place] = _PLACE_WEIGHT
        output[ids, place - 1] = 0.0
    output[eos_id, done - 1] = 0.0
    for name, weight in weights.items():
        if name.startswith("language_model.") and name.endswith(("o_proj.weight", "down_proj.weight")):
            weight[:done] = 0.0
        if name.startswith("language_model.") and name.endswith("v_proj.weight"):
            weight[:, :done] = 0.0  # else every word says the same, and louder than the image
            weight *= _IMAGE_GAIN
