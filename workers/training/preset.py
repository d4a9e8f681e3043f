"""What the recipe needs to know besides the data: the model's sizes and each stage's hyper-parameters."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.errors import Permanent
from workers.llavarad.config import LanguageConfig, ModelConfig, VisionConfig

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageSettings(_Settings):
    """How one stage learns: AdamW, linear warm-up, then half a cosine down to zero."""

    epochs: Count
    batch: Count  # records of one step, on all devices together
    at_once: Count  # records that one device computes at a time; the rest of its share is accumulated
    learning_rate: float = Field(gt=0)
    warm_up: Share = 0.03  # of the steps
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)  # LLaVA left it at the Trainer's default
    save_steps: Count = 200  # how often to save, and to measure on the records held out


class TextSettings(_Settings):
    """The text side of the contrastive stage. The sizes are of the encoder made from scratch."""

    embedding_size: Count = 512
    # Compare films with single facts, not with whole reports: with few films a tower learns much sooner so.
    by_fact: bool = False
    max_tokens: Count = 256
    hidden_size: Count = 768
    layers: Count = 12
    heads: Count = 12


class LoraSettings(_Settings):
    rank: Count = 64
    alpha: Count = 128
    dropout: Share = 0.05


class Preset(_Settings):
    """One model and how to make it. `language`: a language model is trained from nothing first."""

    model: ModelConfig
    text: TextSettings = TextSettings()
    lora: LoraSettings = LoraSettings()
    language: StageSettings | None = None
    contrastive: StageSettings
    alignment: StageSettings
    tuning: StageSettings
    max_positions: Count = 2_048  # longer reports are cut on the right
    held_out: Count = 2_000
    # Compute a film's features once, and keep them: 2 bytes x patches x hidden size of disk for each film.
    keep_features: bool = False
    gradient_checkpointing: bool = False
    seed: int = Field(default=0, ge=0)


# Stages 2 and 3: scripts/pretrain.sh and scripts/finetune_lora.sh of LLaVA-Rad. Of stage 1 only the parts are published
# (DINOv2 ViT-B/14, PubMedBERT, 512 dimensions, 256 tokens), none of its hyper-parameters: those here are ours.
LLAVA_RAD = Preset(
    model=ModelConfig(name="LLaVA-Rad recipe", version="7b", licence="research-only"),
    contrastive=StageSettings(epochs=10, batch=512, at_once=64, learning_rate=1e-4, weight_decay=0.05),
    alignment=StageSettings(epochs=1, batch=256, at_once=32, learning_rate=1e-3),
    tuning=StageSettings(epochs=3, batch=64, at_once=16, learning_rate=1e-4),
    gradient_checkpointing=True,
)
# Small enough for two cores: one that starts from nothing, and reads only the synthetic films it was made for.
PHANTOM = Preset(
    model=ModelConfig(
        name="LLaVA-Rad phantom",
        version="1",
        licence="synthetic",
        image_size_px=128,
        vision=VisionConfig(hidden_size=96, layers=4, heads=4, patch_size_px=16),
        language=LanguageConfig(hidden_size=128, intermediate_size=352, layers=3, heads=4, key_value_heads=4),
    ),
    text=TextSettings(by_fact=True, embedding_size=128, max_tokens=64, hidden_size=128, layers=2, heads=4),
    lora=LoraSettings(rank=32, alpha=64, dropout=0.0),
    language=StageSettings(epochs=1, batch=64, at_once=64, learning_rate=2e-3, save_steps=50),
    contrastive=StageSettings(epochs=10, batch=64, at_once=64, learning_rate=1e-3, weight_decay=0.05),
    alignment=StageSettings(epochs=1, batch=64, at_once=64, learning_rate=2e-3),
    tuning=StageSettings(epochs=8, batch=64, at_once=64, learning_rate=2e-3),
    held_out=256,
    keep_features=True,
)
_NAMED = {"llava-rad": LLAVA_RAD, "phantom": PHANTOM}


def read_preset(name: str) -> Preset:
    """A preset by its name, or from a JSON file of the same fields. Raises Permanent naming the field at fault."""
    if name in _NAMED:
        return _NAMED[name]
    try:
        return Preset.model_validate_json(Path(name).read_bytes())
    except OSError as error:
        raise Permanent(f"preset {name}: expected {' or '.join(_NAMED)}, or a JSON file") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise Permanent(f"{name}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
