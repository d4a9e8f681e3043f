import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import write_tiny_model
from torch import Tensor

from dicom_node.errors import BadCheckpoint, StorageAway
from workers.llavarad.checkpoint import build_empty, load_weights, verify, write_manifest
from workers.llavarad.config import ModelConfig, read_config
from workers.llavarad.engine import Engine

Weights = dict[str, Tensor]
LM_HEAD = "language_model.lm_head.weight"
MASK_TOKEN = "vision_tower.embeddings.mask_token"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_tiny_model(tmp_path / "model")
    yield tmp_path / "model"
    torch.set_num_threads(threads)


def change_weights(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    write_manifest(folder)


def change_config(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))
    write_manifest(folder)


def reshape(weights: Weights) -> None:
    weights[LM_HEAD] = weights[LM_HEAD][:-1].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop(LM_HEAD), f"tensor {LM_HEAD} is missing"),
        (lambda weights: weights.update({MASK_TOKEN: torch.zeros(1, 48)}), f"tensor {MASK_TOKEN} is unexpected"),
        (reshape, rf"tensor {LM_HEAD} is \(\d+, 64\), expected \(\d+, 64\)"),
        (lambda weights: weights[LM_HEAD].fill_(float("nan")), "not finite"),
    ],
    ids=["missing", "extra", "mis-shaped", "not a number"],
)
def test_weights_of_another_model_are_refused_by_name(
    folder: Path, change: Callable[[Weights], object], message: str
) -> None:
    change_weights(folder, change)
    with pytest.raises(BadCheckpoint, match=message):
        Engine.load(folder, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_damaged_file_is_refused_by_name(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BadCheckpoint, match=f"{name} is damaged: sha256"):
        verify(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "manifest.json"])
def test_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadCheckpoint, match=name):
        Engine.load(folder, device="cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_file_outside_the_manifest_is_not_used(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(BadCheckpoint):
        Engine.load(folder, device="cpu")


@pytest.mark.parametrize("read", [verify, lambda folder: read_config(folder / "manifest.json")])
def test_file_that_cannot_be_read_is_named(folder: Path, read: Callable[[Path], object]) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()  # root may read every file

    with pytest.raises(StorageAway, match=r"manifest\.json cannot be read: Is a directory"):
        read(folder)


@pytest.mark.parametrize("content", ["", "[]", '{"files": 1}', '{"files": {"../secret": "00"}}'])
def test_manifest_that_cannot_be_trusted_is_refused(folder: Path, content: str) -> None:
    (folder.parent / "secret").write_text("")
    (folder / "manifest.json").write_text(content)
    with pytest.raises(BadCheckpoint, match=r"manifest\.json"):
        verify(folder)


def test_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="unset model_dir for the test model that ships"):
        Engine.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_file_of_another_kind_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04pickle")
    write_manifest(folder)
    with pytest.raises(BadCheckpoint, match=f"{name} is not a"):
        Engine.load(folder, device="cpu")


def test_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    config = read_config(folder / "config.json")
    change_config(folder, lambda content: content["language"].update(vocab_size=100))  # type: ignore[attr-defined]  # JSON
    with pytest.raises(BadCheckpoint, match=f"has {config.language.vocab_size} tokens, the language model 100"):
        Engine.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"name": "n" * 65}, "name"),
        ({"name": "back\\slash"}, "name"),
        ({"format": "llava-rad/2"}, "format"),
        ({"projector": "linear"}, "projector"),
        ({"image_size_px": 71}, "71 is not a multiple of 14"),
        ({"feature_layer": -9}, "feature_layer -9 of a tower of 3 blocks"),
        ({"vision": {"hidden_size": 50}}, "50 is not a multiple of 12"),
        ({"language": {"key_value_heads": 3}}, "32 is not a multiple of 3"),
        ({"language": {"eos_id": 32000}}, "not below vocab_size"),
    ],
)
def test_config_that_does_not_fit_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    change_config(folder, lambda content: content.update(change))
    with pytest.raises(BadCheckpoint, match=message):
        read_config(folder / "config.json")


def test_config_without_a_name_is_refused(folder: Path) -> None:
    change_config(folder, lambda content: content.pop("name"))
    with pytest.raises(BadCheckpoint, match=r"config\.json: name"):
        read_config(folder / "config.json")


def split_in_shards(folder: Path, *, overlap: bool) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    middle = len(names) // 2
    save_file({name: weights[name] for name in names[: middle + overlap]}, folder / "model-00001-of-00002.safetensors")
    save_file({name: weights[name] for name in names[middle:]}, folder / "model-00002-of-00002.safetensors")
    write_manifest(folder)


def load_all(folder: Path, dtype: torch.dtype) -> Weights:
    config: ModelConfig = read_config(folder / "config.json")
    model = build_empty(config)
    load_weights(model, folder, verify(folder), dtype, torch.device("cpu"))
    assert all(not tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    return model.state_dict()


def test_shards_load_as_one_file_does(folder: Path) -> None:
    whole = load_all(folder, torch.float32)
    split_in_shards(folder, overlap=False)

    sharded = load_all(folder, torch.float32)

    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)


def test_tensor_in_two_shards_is_refused(folder: Path) -> None:
    split_in_shards(folder, overlap=True)
    with pytest.raises(BadCheckpoint, match=r"is in model-00001-of-00002\.safetensors and in model-00002"):
        load_all(folder, torch.float32)


def test_weights_are_loaded_in_the_dtype_asked_for(folder: Path) -> None:
    assert {tensor.dtype for tensor in load_all(folder, torch.bfloat16).values()} == {torch.bfloat16}


def test_overwriting_the_file_does_not_change_a_loaded_model(folder: Path) -> None:
    weights = load_all(folder, torch.float32)
    before = weights[LM_HEAD].clone()
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff" * 800_000)
    assert torch.equal(weights[LM_HEAD], before)
