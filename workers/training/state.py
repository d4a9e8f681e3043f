"""What a stage needs to go on after a kill, and what it leaves when it is done."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dicom_node.errors import StorageFull
from workers.training.files import whole_file

_STATE, _WEIGHTS = "state.pt", "weights.safetensors"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Row:
    """One step: mean loss of its batch, and of the records held out where they were measured (else NaN)."""

    step: int
    loss: float
    learning_rate: float
    held_out_loss: float


def trainable(module: nn.Module) -> Tensors:
    """The tensors that a stage changes, by name."""
    return {name: each.detach() for name, each in module.named_parameters() if each.requires_grad}


def save_state(folder: Path, module: nn.Module, optimizer: Optimizer, rows: list[Row]) -> None:
    """Whole or not at all, whenever the process is killed. Raises StorageFull; what was saved before stays."""
    facts = {
        "weights": trainable(module),
        "optimizer": optimizer.state_dict(),
        "rows": [(row.step, row.loss, row.learning_rate, row.held_out_loss) for row in rows],
    }
    with whole_file(folder / _STATE) as part:
        try:
            torch.save(facts, part)
        except RuntimeError as error:  # all that PyTorch says of a full disk
            raise StorageFull(f"{folder / _STATE} cannot be written") from error


def restore_state(folder: Path, module: nn.Module, optimizer: Optimizer) -> list[Row]:
    """The rows of the steps that are done; none if nothing was saved."""
    path = folder / _STATE
    if not path.exists():
        return []
    facts = torch.load(path, map_location="cpu", weights_only=True)
    load_trainable(module, facts["weights"])
    optimizer.load_state_dict(facts["optimizer"])
    return [Row(*row) for row in facts["rows"]]


def load_trainable(module: nn.Module, tensors: Tensors) -> None:
    """In place, on the module's own device. Raises KeyError if a tensor is missing."""
    with torch.no_grad():
        for name, tensor in trainable(module).items():
            tensor.copy_(tensors[name])


def is_done(folder: Path) -> bool:
    return (folder / _WEIGHTS).exists()


def finish(folder: Path, module: nn.Module) -> None:
    """Leave the weights, whole or not at all, and nothing to resume. Raises StorageFull."""
    with whole_file(folder / _WEIGHTS) as part:
        save_file({name: tensor.cpu().contiguous() for name, tensor in trainable(module).items()}, part)
    (folder / _STATE).unlink(missing_ok=True)


def read_weights(folder: Path, prefix: str) -> Tensors:
    """The tensors of a stage that is done whose names begin with `prefix`, without it."""
    tensors = load_file(folder / _WEIGHTS)
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def weights_digest(folder: Path) -> str:
    """sha256 of what the stage left, or an empty string if it is not done."""
    if not is_done(folder):
        return ""
    with (folder / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
