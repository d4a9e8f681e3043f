"""The shape of one LLaVA-Rad: what `config.json` of a model folder says, checked when read.

Only what may differ between two models of this architecture is a field; what never differs is written in `model.py`.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from dicom_node.errors import BadCheckpoint
from workers.llavarad.folder import reading

FILE_NAME = "config.json"
Count = Annotated[int, Field(ge=1)]
# PS3.5 6.2, VR LO: name and version are written into reports; 64 characters, no backslash, no control character.
Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[ -\[\]-~]+$")]


def _divide(whole: int, part: int) -> None:
    if whole % part:
        raise ValueError(f"{whole} is not a multiple of {part}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VisionConfig(_Part):
    """The image tower: a DINOv2 ViT with LayerScale and without registers."""

    hidden_size: Count = 768
    layers: Count = 12
    heads: Count = 12
    mlp_ratio: Count = 4
    patch_size_px: Count = 14
    layer_norm_eps: float = Field(default=1e-6, gt=0)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        _divide(self.hidden_size, self.heads)
        return self


class LanguageConfig(_Part):
    """The language model: Llama 2. The defaults are those of Vicuna-7B v1.5."""

    vocab_size: Count = 32_000
    hidden_size: Count = 4_096
    intermediate_size: Count = 11_008
    layers: Count = 32
    heads: Count = 32
    key_value_heads: Count = 32
    rms_norm_eps: float = Field(default=1e-5, gt=0)
    rope_theta: float = Field(default=10_000.0, gt=0)
    max_positions: Count = 4_096
    bos_id: int = Field(default=1, ge=0)
    eos_id: int = Field(default=2, ge=0)
    pad_id: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _heads_and_ids_fit(self) -> Self:
        _divide(self.hidden_size, self.heads)
        _divide(self.heads, self.key_value_heads)
        if max(self.bos_id, self.eos_id, self.pad_id) >= self.vocab_size:
            raise ValueError(f"a special token's id is not below vocab_size {self.vocab_size}")
        return self


class ModelConfig(_Part):
    """One model of the LLaVA-Rad architecture. The defaults are the published sizes."""

    format: Literal["llava-rad/1"] = "llava-rad/1"
    name: Label
    version: Label
    # Research-only: loaded only after the operator has accepted the terms, by a setting.
    # Synthetic: it has learned from no patient's image, is for tests alone, and every draft says so.
    licence: Literal["free", "research-only", "synthetic"] = "free"
    image_size_px: Count = 518
    # Index into the tower's hidden states, as LLaVA counts: -1 the last block's output, -2 the one before.
    feature_layer: int = Field(default=-2, le=-1)
    vision: VisionConfig = VisionConfig()
    projector: Literal["mlp2x_gelu"] = "mlp2x_gelu"
    language: LanguageConfig = LanguageConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        _divide(self.image_size_px, self.vision.patch_size_px)
        if -self.feature_layer > self.vision.layers:
            raise ValueError(f"feature_layer {self.feature_layer} of a tower of {self.vision.layers} blocks")
        return self

    @property
    def is_synthetic(self) -> bool:
        return self.licence == "synthetic"

    @property
    def feature_blocks(self) -> int:
        """How many blocks of the tower an image passes through."""
        return self.vision.layers + 1 + self.feature_layer

    @property
    def image_tokens(self) -> int:
        """How many positions of the prompt an image takes."""
        side: int = self.image_size_px // self.vision.patch_size_px
        return side * side


def read_config(path: Path) -> ModelConfig:
    """Raises BadCheckpoint naming the field that is missing, unknown or out of range; StorageAway."""
    try:
        with reading(path):
            return ModelConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadCheckpoint(f"{path.name}: {where or 'content'}: {first['msg']}") from error
