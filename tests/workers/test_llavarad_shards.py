from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from workers.llavarad.shards import write_shards

TENSORS = [(name, torch.full((10,), float(index))) for index, name in enumerate("abcde")]  # 40 bytes each


@pytest.mark.parametrize(
    ("shard_bytes", "files"),
    [
        (200, ["model.safetensors"]),
        (199, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        (80, [f"model-{n:05}-of-00003.safetensors" for n in (1, 2, 3)]),
        (1, [f"model-{n:05}-of-00005.safetensors" for n in (1, 2, 3, 4, 5)]),
    ],
)
def test_tensors_fill_files_of_limited_size(tmp_path: Path, shard_bytes: int, files: list[str]) -> None:
    write_shards(tmp_path, iter(TENSORS), shard_bytes=shard_bytes)

    assert sorted(path.name for path in tmp_path.iterdir()) == files
    read = {name: tensor for file in files for name, tensor in load_file(tmp_path / file).items()}
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS)
    assert read.keys() == dict(TENSORS).keys()
