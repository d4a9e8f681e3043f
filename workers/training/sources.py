"""Where a model's parts come from: nothing, or folders of published weights on this machine."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertModel, Dinov2Model, LlamaForCausalLM, PreTrainedModel

from dicom_node.errors import BadCheckpoint, Permanent
from workers.llavarad.checkpoint import compare_shapes
from workers.llavarad.config import ModelConfig
from workers.llavarad.model import LlavaRad
from workers.llavarad.pieces import read_llama_tokenizer
from workers.llavarad.tokenizer import ChunkTokenizer
from workers.llavarad.vision import build_tower
from workers.training.contrastive import TextEncoder
from workers.training.language import facts_of
from workers.training.preset import Preset
from workers.training.records import Record

_Model = TypeVar("_Model", bound=PreTrainedModel)


@dataclass(frozen=True)
class Sources:
    """Folders as the Hugging Face hub has them. A preset that makes its own language model needs none.

    language: Vicuna. text: PubMedBERT. tower: DINOv2 to begin with, else the tower begins with random weights.
    """

    language: Path | None = None
    text: Path | None = None
    tower: Path | None = None


def new_language(config: ModelConfig, seed: int) -> LlamaForCausalLM:
    """A language model with random weights."""
    torch.manual_seed(seed)
    language = LlavaRad(config).language_model
    widen_start(language)
    return language


def published_language(sources: Sources) -> LlamaForCausalLM:
    """Raises BadCheckpoint if the folder is none of a Llama's, or lacks a part of it."""
    # As in the paper; on a CPU only tests load it.
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return _load(LlamaForCausalLM, "Llama model", _required(sources.language, "--language"), dtype=dtype)


def published_tokenizer(sources: Sources) -> Tokenizer:
    return read_llama_tokenizer(_required(sources.language, "--language") / "tokenizer.model")


def first_tower(config: ModelConfig, sources: Sources, seed: int) -> Dinov2Model:
    """What the contrastive stage begins with. Raises BadCheckpoint for a folder of another tower."""
    torch.manual_seed(seed)
    tower = build_tower(config)
    widen_start(tower)
    _place_patches(tower, config)
    if sources.tower is not None:
        found = _load(Dinov2Model, "DINOv2 model", sources.tower).state_dict()
        needed = {name: tuple(each.shape) for name, each in tower.state_dict().items()}
        compare_shapes({name: tuple(each.shape) for name, each in found.items() if name in needed}, needed)
        tower.load_state_dict({name: found[name] for name in needed})
    return tower


def widen_start(module: nn.Module) -> None:
    """Draw the first weights anew, of a size that fits their width. Source: Glorot and Bengio 2010.

    The usual deviation of 0.02 is made for wide models: a narrow layer hardly changes what passes through it then, and
    all inputs look alike.
    """
    for each in module.modules():
        if isinstance(each, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(each.weight.view(len(each.weight), -1))


def _place_patches(tower: Dinov2Model, config: ModelConfig) -> None:
    """Sines of row and column, from which a small tower learns places much sooner. Source: MAE, arXiv 2111.06377."""
    side, width = config.image_size_px // config.vision.patch_size_px, config.vision.hidden_size // 4
    angle = torch.arange(side)[:, None] / 10_000 ** (torch.arange(width) / width)
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows, columns = waves.repeat_interleave(side, dim=0), waves.repeat(side, 1)
    with torch.no_grad():
        tower.embeddings.position_embeddings[0, 1:] = 0.5 * torch.cat([rows, columns], dim=1)


def text_encoder(preset: Preset, sources: Sources, *, vocab_size: int) -> TextEncoder:
    """PubMedBERT, or a small one with random weights and the language model's vocabulary."""
    torch.manual_seed(preset.seed)
    text = preset.text
    if preset.language is None:
        folder = _required(sources.text, "--text-encoder")
        bert = _load(BertModel, "BERT model", folder, add_pooling_layer=False)
    else:
        small = BertConfig(
            vocab_size=vocab_size,
            hidden_size=text.hidden_size,
            num_hidden_layers=text.layers,
            num_attention_heads=text.heads,
            intermediate_size=4 * text.hidden_size,
            max_position_embeddings=text.max_tokens,
        )
        bert = BertModel(small, add_pooling_layer=False)
        widen_start(bert)
    return TextEncoder(bert, text.embedding_size)


def text_ids(
    preset: Preset, sources: Sources, tokenizer: ChunkTokenizer, records: Sequence[Record]
) -> list[list[list[int]]]:
    """Each film's texts for the text encoder, cut to its length, the first token in front."""
    longest = preset.text.max_tokens
    texts = [facts_of(each) if preset.text.by_fact else (each.findings,) for each in records]
    if preset.language is not None:
        return [[tokenizer.first_ids(text)[:longest] for text in own] for own in texts]
    folder = _required(sources.text, "--text-encoder")
    bert = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return [bert(list(own), truncation=True, max_length=longest)["input_ids"] for own in texts]


def _load(kind: type[_Model], what: str, folder: Path, **options: object) -> _Model:
    """Raises BadCheckpoint where a weight is lacking: transformers would make it a random one, and only warn."""
    load = cast(Callable[..., tuple[_Model, Mapping[str, Collection[str]]]], kind.from_pretrained)
    try:
        model, told = load(folder, local_files_only=True, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadCheckpoint(f"{folder} holds no {what}") from error
    if lacking := sorted(told["missing_keys"]):
        raise BadCheckpoint(f"{folder} holds no {what}, or not all of it: {lacking[0]} is missing")
    return model


def _required(folder: Path | None, option: str) -> Path:
    if folder is None:
        raise Permanent(f"this preset needs {option}: a folder of published weights")
    return folder
