"""One folder, one model: verified against its manifest, then loaded without a tensor too many or too few.

config.json, tokenizer.json, model.safetensors (or model-00001-of-0000N.safetensors …), and manifest.json:
{"files": {name: sha256}}. Nothing else is read, and no pickle ever is.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from dicom_node.errors import BadCheckpoint
from workers.llavarad.config import FILE_NAME, ModelConfig
from workers.llavarad.folder import reading
from workers.llavarad.model import LlavaRad

CONFIG, TOKENIZER, MANIFEST = FILE_NAME, "tokenizer.json", "manifest.json"
SINGLE_WEIGHTS, SHARDED_WEIGHTS = "model.safetensors", "model-*-of-*.safetensors"
Shape = tuple[int, ...]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore")
    files: dict[str, str]


def write_manifest(folder: Path) -> None:
    """Record the sha256 of every file in the folder."""
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")


def verify(folder: Path) -> dict[str, str]:
    """The sha256 of each file, by name, after reading every byte.

    Raises BadCheckpoint naming the first file that is missing, unlisted or changed, StorageAway for one that cannot be
    read.
    """
    with reading(folder):
        files = _read_manifest(folder)
        for name in (CONFIG, TOKENIZER):
            if name not in files:
                raise BadCheckpoint(f"{MANIFEST} does not list {name}")
        for name, expected in files.items():
            _verify_file(folder, name, expected)
    return files


def load_weights(
    model: LlavaRad, folder: Path, files: dict[str, str], dtype: torch.dtype, device: torch.device
) -> None:
    """Fill a model that was built on the meta device, straight to its device and dtype.

    Raises BadCheckpoint naming the first tensor that is missing, unexpected, doubled or of another shape.
    """
    shards = [folder / name for name in sorted(files) if _is_weights(name)]
    held: dict[str, tuple[Path, Shape]] = {}
    for shard in shards:
        for name, shape in _shapes(shard).items():
            if name in held:
                raise BadCheckpoint(f"tensor {name} is in {held[name][0].name} and in {shard.name}")
            held[name] = shard, shape
    compare_shapes({name: shape for name, (_, shape) in held.items()}, expected_shapes(model))
    model.load_state_dict(_tensors(shards, dtype, device), strict=True, assign=True)
    # The only numbers that are computed, not stored; on the meta device they were not.
    language = model.language_model
    language.model.rotary_emb = LlamaRotaryEmbedding(language.config).to(device)


def expected_shapes(model: LlavaRad) -> dict[str, Shape]:
    """Every tensor a checkpoint must hold, by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def compare_shapes(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Raises BadCheckpoint naming the first tensor that is missing, unexpected or of another shape."""
    for name, shape in expected.items():
        if name not in found:
            raise BadCheckpoint(f"tensor {name} is missing, expected {shape}")
        if found[name] != shape:
            raise BadCheckpoint(f"tensor {name} is {found[name]}, expected {shape}")
    for name in sorted(found.keys() - expected.keys()):
        raise BadCheckpoint(f"tensor {name} is unexpected: this is another model")


def build_empty(config: ModelConfig) -> LlavaRad:
    """The model without numbers (on the meta device), to be filled by `load_weights`."""
    with torch.device("meta"):
        return LlavaRad(config)


def _read_manifest(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise BadCheckpoint(
            f"no model folder at {folder}: unset model_dir for the test model that ships, or put the converted "
            f"LLaVA-Rad there ({CONFIG}, {TOKENIZER}, {SINGLE_WEIGHTS}, {MANIFEST})"
        )
    try:
        return _Manifest.model_validate_json((folder / MANIFEST).read_bytes()).files
    except FileNotFoundError as error:
        raise BadCheckpoint(f"{folder} has no {MANIFEST}: it is not a model folder, or was not copied whole") from error
    except ValidationError as error:
        raise BadCheckpoint(f"{MANIFEST} is damaged: expected a table `files` of names and sha256") from error


def _verify_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise BadCheckpoint(f"{name} is listed in {MANIFEST} and missing")
    found = _sha256(path)
    if found != expected.lower():
        raise BadCheckpoint(f"{name} is damaged: sha256 {found[:12]}…, expected {expected[:12]}…")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_weights(name: str) -> bool:
    return name == SINGLE_WEIGHTS or Path(name).match(SHARDED_WEIGHTS)


def _shapes(shard: Path) -> dict[str, Shape]:
    try:
        with safe_open(shard, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise BadCheckpoint(f"{shard.name} is not a safetensors file") from error


def _tensors(shards: list[Path], dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        with safe_open(shard, framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                # A copy: a file that is overwritten later must not change a running model through its memory map.
                tensors[name] = file.get_tensor(name).to(dtype, copy=True)
    return tensors
