"""In which numbers a model computes: bfloat16 where that is as fast as it is small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_model import PLACES, write_tiny_model

from workers.llavarad.checkpoint import write_manifest
from workers.llavarad.engine import Engine

pytestmark = pytest.mark.usefixtures("one_thread")


def _folder(path: Path, licence: str) -> Path:
    write_tiny_model(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"licence": licence}))
    write_manifest(path)
    return path


def _numbers_of(engine: Engine) -> set[torch.dtype]:
    return {each.dtype for each in engine._model.parameters()}


@pytest.mark.parametrize("able", ["avx512_bf16", "amx_bf16"])
def test_a_processor_that_multiplies_bfloat16_itself_reads_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: str
) -> None:
    folder = _folder(tmp_path / "model", "free")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {able: True})
    short = Engine.load(folder, device="cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {able: False})
    long = Engine.load(folder, device="cpu")

    assert _numbers_of(short) == {torch.bfloat16}
    assert _numbers_of(long) == {torch.float32}
    assert short.identity.digest != long.identity.digest

    findings = short.write_findings(np.full((100, 100), 80, np.uint8), "cough")
    assert findings.token_count == len(PLACES)
    assert findings.attention is not None


def test_the_synthetic_model_reads_everywhere_as_it_was_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert _numbers_of(Engine.load(_folder(tmp_path / "model", "synthetic"), device="cpu")) == {torch.float32}


def test_a_processor_of_another_kind_reads_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64"})
    assert _numbers_of(Engine.load(_folder(tmp_path / "model", "free"), device="cpu")) == {torch.float32}
