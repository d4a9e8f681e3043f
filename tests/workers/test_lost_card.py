"""A real model on a machine whose card cannot be used: not read on processors in silence, minutes a draft."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_model import write_tiny_model

from dicom_node.errors import EngineLost
from workers.llavarad import engine
from workers.llavarad.checkpoint import write_manifest
from workers.llavarad.engine import Engine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model for patients, by its licence."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(engine, "_DEVICES", tmp_path / "dev")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "dev").mkdir()
    write_tiny_model(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"licence": "free"}))
    write_manifest(tmp_path / "model")
    yield tmp_path / "model"
    torch.set_num_threads(threads)


def test_a_card_that_is_there_and_cannot_be_used_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dev" / "nvidia0").touch()
    with pytest.raises(EngineLost, match="card is there, but cannot be used"):
        Engine.load(folder)


@pytest.mark.parametrize("node", ["nvidiactl", "nvram"])
def test_a_machine_without_a_card_reads_on_its_processors(folder: Path, tmp_path: Path, node: str) -> None:
    (tmp_path / "dev" / node).touch()
    assert Engine.load(folder).identity.name


def test_a_torch_without_cuda_reads_on_processors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert Engine.load(folder).identity.name


@pytest.mark.parametrize(
    ("variable", "value"),
    [("CUDA_VISIBLE_DEVICES", "0"), ("NVIDIA_VISIBLE_DEVICES", "GPU-8a1"), ("NVIDIA_VISIBLE_DEVICES", "all")],
)
def test_a_torch_without_cuda_is_told_where_a_card_was_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setenv(variable, value)  # as deploy/take_card.sh, or Docker and Kubernetes
    with pytest.raises(EngineLost, match="this PyTorch knows none: build with PIP_EXTRA_INDEX_URL empty"):
        Engine.load(folder)


@pytest.mark.parametrize("value", ["void", "none", ""])
def test_a_container_that_was_given_no_card_reads_on_its_processors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", value)
    assert Engine.load(folder).identity.name


def test_a_card_that_is_hidden_on_purpose_is_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Engine.load(folder).identity.name


def test_the_demonstration_needs_no_card(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dev" / "nvidia0").touch()
    write_tiny_model(tmp_path / "demo")
    assert Engine.load(tmp_path / "demo").identity.is_synthetic
