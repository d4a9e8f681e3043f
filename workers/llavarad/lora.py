"""Low-rank adaptation: what it adds to a weight. Source: PEFT, LoRA without bias, DoRA or rank stabilisation."""

from collections.abc import Mapping

import torch
from torch import Tensor

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PREFIX = "base_model.model."
Shape = tuple[int, ...]


def adapter_shapes(language: Mapping[str, Shape], rank: int) -> dict[str, Shape]:
    """Every tensor of an adapter over all linears of the layers. language: shapes by Llama's own names."""
    shapes: dict[str, Shape] = {}
    for name, (rows, *columns) in language.items():
        if is_adapted(name):
            down, up = _names(name)
            shapes |= {down: (rank, *columns), up: (rows, rank)}
    return shapes


def is_adapted(name: str) -> bool:
    return name.endswith(tuple(f".{target}.weight" for target in TARGETS))


def merge(weight: Tensor, adapter: Mapping[str, Tensor], name: str, scale: float) -> Tensor:
    """float32: W + scale * B @ A."""
    down, up = (adapter[each].to(torch.float32) for each in _names(name))
    return weight.to(torch.float32) + (up @ down) * scale


def _names(name: str) -> tuple[str, str]:
    module = _PREFIX + name.removesuffix("weight")
    return f"{module}lora_A.weight", f"{module}lora_B.weight"
