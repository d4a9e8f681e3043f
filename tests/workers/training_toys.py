"""Films that a small model can learn in seconds, a recipe for them, and what the training tests share."""

import json
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig
from workers.training.preset import LoraSettings, Preset, StageSettings, TextSettings
from workers.training.recipe import Recipe
from workers.training.records import read_records
from workers.training.sources import Sources

SIZE_PX = 64
HELD_OUT = 32
_LARGE = 20


def _stage(epochs: int, batch: int, learning_rate: float) -> StageSettings:
    return StageSettings(
        epochs=epochs, batch=batch, at_once=batch, learning_rate=learning_rate, warm_up=0.2, save_steps=40
    )


PRESET = Preset(
    model=ModelConfig(
        name="toy",
        version="1",
        image_size_px=56,
        vision=VisionConfig(hidden_size=48, layers=3, heads=4, mlp_ratio=2),
        language=LanguageConfig(hidden_size=48, intermediate_size=96, layers=2, heads=4, key_value_heads=4),
    ),
    text=TextSettings(by_fact=True, embedding_size=32, max_tokens=32, hidden_size=32, layers=1, heads=4),
    lora=LoraSettings(rank=8, alpha=16),
    language=_stage(2, 16, 3e-3),
    contrastive=_stage(14, 32, 1e-3),
    alignment=_stage(2, 16, 3e-3),
    tuning=_stage(2, 16, 3e-3),
    held_out=HELD_OUT,
    keep_features=True,
)


def findings(side: str) -> str:
    return f"A square is seen on the {side}."


def draw_toy(side: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """(64, 64): noise, and a bright square somewhere in the half that a viewer calls left or right."""
    image = random.normal(90, 15, (SIZE_PX, SIZE_PX))
    x = int(random.integers(0, SIZE_PX // 2 - _LARGE)) + (SIZE_PX // 2 if side == "right" else 0)
    y = int(random.integers(0, SIZE_PX - _LARGE))
    image[y : y + _LARGE, x : x + _LARGE] += 100
    return image.clip(0, 255).astype(np.uint8)


def write_toys(folder: Path, count: int) -> Path:
    """The path of the annotations."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number in range(count):
        side = ("left", "right")[number % 2]
        Image.fromarray(draw_toy(side, random)).save(folder / f"{number}.png")
        entries.append(entry(number, findings(side)) | {"labels": [side]})
    path = folder / "records.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def entry(number: int, text: str) -> dict[str, object]:
    """One record as the published files have it."""
    return {
        "id": f"toy-{number}",
        "image": f"{number}.png",
        "view": "PA",
        "reason": "cough" if number % 3 else None,
        "generate_method": "rule-based",
        "conversations": [{"from": "human", "value": "<image>\nDescribe."}, {"from": "gpt", "value": text}],
    }


def make_recipe(annotations: Path, out: Path, preset: Preset = PRESET) -> Recipe:
    out.mkdir(parents=True, exist_ok=True)
    return Recipe(preset, Sources(), read_records(annotations), out, Accelerator(), Progress(disable=True))
