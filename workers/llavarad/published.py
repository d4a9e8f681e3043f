"""The published checkpoint becomes a model folder: adapter merged, tower and projector renamed, the rest dropped.

Numbers: float16 of W + scale * B @ A computed in float32, as the original ran; so parity is possible and bfloat16 is
one rounding away. Memory: the sources stay on the disk, one output file at a time is held.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from dicom_node.errors import BadCheckpoint
from workers.llavarad import edition as published
from workers.llavarad.checkpoint import (
    CONFIG,
    TOKENIZER,
    Shape,
    build_empty,
    compare_shapes,
    expected_shapes,
    write_manifest,
)
from workers.llavarad.edition import LLAVA_RAD, Edition, check_digests, check_present
from workers.llavarad.folder import new_folder, reading
from workers.llavarad.lora import adapter_shapes, is_adapted, merge
from workers.llavarad.notice import LICENCE_FILE, NOTICE, NOTICE_FILE
from workers.llavarad.pickles import read_tensors
from workers.llavarad.pieces import read_llama_tokenizer
from workers.llavarad.published_config import check_adapter, check_model, check_tower
from workers.llavarad.shards import write_shards
from workers.llavarad.trunk import take_trunk, timm_name

_DTYPE = torch.float16
_LANGUAGE, _PROJECTOR, _TOWER = "language_model.", "projector.", "vision_tower."
_PROJECTOR_PREFIX = "base_model.model.model.mm_projector."
_PROJECTOR_LAYERS = {"linear_1": "0", "linear_2": "2"}
_DERIVED = ".rotary_emb.inv_freq"
Tensors = Mapping[str, Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Sources:
    """Tensors by their published names, complete and of the right shapes."""

    language: Tensors
    adapter: Tensors
    projector: Tensors
    tower: Tensors


def import_published(source: Path, dest: Path, *, edition: Edition = LLAVA_RAD, say: Say = lambda _: None) -> None:
    """Make the model folder `dest`, whole or not at all. source: a folder with one sub-folder a repository.

    Raises BadCheckpoint naming the first file, field or tensor that is missing, unexpected or not as published;
    StorageAway naming the one that cannot be read; StorageFull; Permanent if `dest` exists.
    """
    shapes = expected_shapes(build_empty(edition.config))
    with reading(source):
        check_present(source, edition)
    with new_folder(dest, needed_bytes=sum(map(prod, shapes.values())) * _DTYPE.itemsize) as folder:
        with reading(source):
            say("checking the published files")
            check_digests(source, edition)
            _check_configs(source, edition)
            small_files = _make_small_files(source, edition)
            say("reading the published weights")
            sources = _read_sources(source, edition, shapes)
        say("merging the adapter and writing the model")
        for name, content in small_files.items():
            (folder / name).write_bytes(content)
        write_shards(folder, _convert(sources, shapes, edition.lora_alpha / edition.lora_rank))
        say("taking digests")
        write_manifest(folder)


def _check_configs(source: Path, edition: Edition) -> None:
    own = partial(edition.own_file, source)
    check_model(own(published.CONFIG_FILE), edition.config)
    check_adapter(own(published.ADAPTER_CONFIG_FILE), rank=edition.lora_rank, alpha=edition.lora_alpha)
    check_tower(own(published.TOWER_CONFIG_FILE), edition.config)


def _make_small_files(source: Path, edition: Edition) -> dict[str, bytes]:
    tokenizer = read_llama_tokenizer(edition.base_file(source, published.TOKENIZER_FILE))
    if tokenizer.get_vocab_size() != edition.config.language.vocab_size:
        raise BadCheckpoint(
            f"{published.TOKENIZER_FILE} has {tokenizer.get_vocab_size()} tokens, "
            f"expected {edition.config.language.vocab_size}"
        )
    own, base = (f"{each.hub_id} at {each.revision}" for each in (edition.own, edition.base))
    return {
        TOKENIZER: tokenizer.to_str().encode(),
        CONFIG: (edition.config.model_dump_json(indent=1) + "\n").encode(),
        NOTICE_FILE: NOTICE.format(own=own, base=base).encode(),
        LICENCE_FILE: edition.own_file(source, LICENCE_FILE).read_bytes(),
    }


def _read_sources(source: Path, edition: Edition, shapes: Mapping[str, Shape]) -> _Sources:
    own = partial(edition.own_file, source)
    language = {name.removeprefix(_LANGUAGE): shape for name, shape in shapes.items() if name.startswith(_LANGUAGE)}
    sources = _Sources(
        _read_language(edition.base_shards(source)),
        read_tensors(own(published.ADAPTER_FILE)),
        read_tensors(own(published.PROJECTOR_FILE)),
        take_trunk(read_tensors(own(published.TOWER_FILE), within="state_dict")),
    )
    _require(sources.language, language, edition.base.folder)
    _require(sources.adapter, adapter_shapes(language, edition.lora_rank), published.ADAPTER_FILE)
    _require(sources.projector, _projector_shapes(shapes), published.PROJECTOR_FILE)
    _require(sources.tower, _tower_shapes(shapes), published.TOWER_FILE)
    return sources


def _read_language(shards: list[Path]) -> Tensors:
    language: dict[str, Tensor] = {}
    for shard in shards:
        for name, tensor in read_tensors(shard).items():
            if name in language:
                raise BadCheckpoint(f"{shard.name}: tensor {name} is in an earlier file too")
            language[name] = tensor
    return {name: tensor for name, tensor in language.items() if not name.endswith(_DERIVED)}


def _require(found: Tensors, expected: Mapping[str, Shape], where: str) -> None:
    with _naming(where):
        compare_shapes({name: tuple(tensor.shape) for name, tensor in found.items()}, expected)
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            raise BadCheckpoint(f"{where}: tensor {name} is {tensor.dtype}, expected floating point")


@contextmanager
def _naming(where: str) -> Iterator[None]:
    try:
        yield
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{where}: {error}") from error


def _projector_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {_projector_name(name): shape for name, shape in shapes.items() if name.startswith(_PROJECTOR)}


def _projector_name(name: str) -> str:
    _, layer, what = name.split(".")
    return f"{_PROJECTOR_PREFIX}{_PROJECTOR_LAYERS[layer]}.{what}"


def _tower_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    published_shapes: dict[str, Shape] = {}
    for name in (each for each in shapes if each.startswith(_TOWER)):
        theirs, third = timm_name(name.removeprefix(_TOWER))
        rows, *columns = shapes[name]
        published_shapes[theirs] = (rows if third is None else 3 * rows, *columns)
    return published_shapes


def _convert(sources: _Sources, shapes: Mapping[str, Shape], scale: float) -> Iterator[tuple[str, Tensor]]:
    for name in shapes:
        tensor = _take(sources, name, scale).to(_DTYPE, copy=True).contiguous()
        if not bool(torch.isfinite(tensor).all()):
            raise BadCheckpoint(f"tensor {name} holds what is no number in float16")
        yield name, tensor


def _take(sources: _Sources, name: str, scale: float) -> Tensor:
    if name.startswith(_PROJECTOR):
        return sources.projector[_projector_name(name)]
    if name.startswith(_TOWER):
        theirs, third = timm_name(name.removeprefix(_TOWER))
        return sources.tower[theirs] if third is None else sources.tower[theirs].chunk(3)[third]
    theirs = name.removeprefix(_LANGUAGE)
    weight = sources.language[theirs]
    return merge(weight, sources.adapter, theirs, scale) if is_adapted(theirs) else weight
