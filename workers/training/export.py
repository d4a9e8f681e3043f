"""The end of the recipe: a model folder as the node loads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dicom_node.errors import BadCheckpoint
from workers.llavarad.checkpoint import CONFIG, TOKENIZER, build_empty, compare_shapes, expected_shapes, write_manifest
from workers.llavarad.config import ModelConfig
from workers.llavarad.folder import new_folder
from workers.llavarad.lora import is_adapted, merge
from workers.llavarad.shards import write_shards
from workers.training.state import Tensors

_DTYPE = torch.float16
_TOWER, _PROJECTOR, _LANGUAGE = "vision_tower.", "projector.", "language_model."


@dataclass(frozen=True)
class Trained:
    """Tensors under each part's own names; the adapter's as peft saves them. scale: what it is multiplied by."""

    tower: Tensors
    projector: Tensors
    language: Tensors
    adapter: Tensors
    scale: float


def write_model(dest: Path, config: ModelConfig, tokenizer: str, trained: Trained) -> None:
    """The folder appears whole or not at all. The adapter is merged in float32; everything is stored as float16.

    tokenizer: the content of tokenizer.json. Raises BadCheckpoint if the parts do not make up this model.
    """
    shapes = expected_shapes(build_empty(config))
    needed = sum(torch.Size(shape).numel() for shape in shapes.values()) * _DTYPE.itemsize
    with new_folder(dest, needed_bytes=needed) as folder:
        write_shards(folder, _tensors(trained, shapes))
        (folder / CONFIG).write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        write_manifest(folder)


def _tensors(trained: Trained, shapes: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, Tensor]]:
    parts = {_TOWER: trained.tower, _PROJECTOR: trained.projector, _LANGUAGE: trained.language}
    held = {prefix + name: tensor for prefix, tensors in parts.items() for name, tensor in tensors.items()}
    compare_shapes({name: tuple(tensor.shape) for name, tensor in held.items()}, shapes)
    for name in shapes:
        tensor = _merged(trained, name.removeprefix(_LANGUAGE)) if name.startswith(_LANGUAGE) else held[name]
        stored = tensor.to(_DTYPE, copy=True).contiguous()
        if not bool(torch.isfinite(stored).all()):
            raise BadCheckpoint(f"tensor {name} holds what is no number in float16")
        yield name, stored


def _merged(trained: Trained, name: str) -> Tensor:
    weight = trained.language[name]
    return merge(weight, trained.adapter, name, trained.scale) if is_adapted(name) else weight
