"""Writing safetensors that are too large for one file, or to be held in memory at once."""

from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from workers.llavarad.checkpoint import SINGLE_WEIGHTS

SHARD_BYTES = 5_000_000_000


def write_shards(folder: Path, tensors: Iterable[tuple[str, Tensor]], *, shard_bytes: int = SHARD_BYTES) -> None:
    """Write model.safetensors, or model-00001-of-0000N.safetensors …, holding one file's tensors at a time."""
    parts: list[Path] = []
    held: dict[str, Tensor] = {}
    held_bytes = 0
    for name, tensor in tensors:
        if held and held_bytes + tensor.nbytes > shard_bytes:
            parts.append(_write_part(folder, held, len(parts)))
            held, held_bytes = {}, 0
        held[name] = tensor
        held_bytes += tensor.nbytes
    parts.append(_write_part(folder, held, len(parts)))
    _name_parts(folder, parts)


def _write_part(folder: Path, tensors: dict[str, Tensor], number: int) -> Path:
    path = folder / f"part-{number}"
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def _name_parts(folder: Path, parts: list[Path]) -> None:
    if len(parts) == 1:
        parts[0].rename(folder / SINGLE_WEIGHTS)
        return
    for number, part in enumerate(parts, start=1):
        part.rename(folder / f"model-{number:05}-of-{len(parts):05}.safetensors")
