"""One run of the recipe: its data, its folder, and the parts that the stages so far have made."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.progress import Progress
from tokenizers import Tokenizer
from transformers import Dinov2Model, LlamaForCausalLM

from dicom_node.errors import Permanent
from workers.llavarad.checkpoint import TOKENIZER
from workers.llavarad.config import ModelConfig
from workers.llavarad.projector import Projector
from workers.llavarad.tokenizer import ChunkTokenizer
from workers.llavarad.vision import build_tower
from workers.training import sources
from workers.training.files import write_text
from workers.training.films import Films, films_key, load_films
from workers.training.language import make_tokenizer
from workers.training.preset import Preset
from workers.training.records import Record
from workers.training.state import is_done, read_weights, weights_digest


class StageName(StrEnum):
    """In their order. The first is only for a model that makes its own language model."""

    LANGUAGE = "language"
    CONTRASTIVE = "contrastive"
    ALIGNMENT = "alignment"
    TUNING = "tuning"


# What a stage depends on beside the model and its own settings.
_CONCERNS = {StageName.CONTRASTIVE: "text", StageName.TUNING: "lora"}


@dataclass(frozen=True)
class Recipe:
    """records: to learn from first, then the last `preset.held_out`, to measure on.

    Records of one patient stand together in the published files, so one cut separates all patients but one.
    """

    preset: Preset
    sources: sources.Sources
    records: Sequence[Record]
    out: Path
    accelerator: Accelerator
    progress: Progress

    def __post_init__(self) -> None:
        if len(self.records) < 2 * self.preset.held_out:
            raise Permanent(f"{len(self.records)} records are too few to hold {self.preset.held_out} out")

    @property
    def stages(self) -> list[StageName]:
        """All that this preset has, in their order."""
        makes_language = self.preset.language is not None
        return [name for name in StageName if makes_language or name is not StageName.LANGUAGE]

    @property
    def learning(self) -> int:
        """How many records are learned from."""
        return len(self.records) - self.preset.held_out

    @cached_property
    def tokenizer(self) -> Tokenizer:
        if self.preset.language is None:
            return sources.published_tokenizer(self.sources)
        path = self.out / TOKENIZER
        with self.accelerator.main_process_first():
            if not path.exists():
                write_text(path, make_tokenizer(self.records).to_str(pretty=True))
        return Tokenizer.from_file(str(path))

    @cached_property
    def config(self) -> ModelConfig:
        """The preset's model, with the vocabulary of the tokenizer."""
        language = self.preset.model.language.model_copy(update={"vocab_size": self.tokenizer.get_vocab_size()})
        return self.preset.model.model_copy(update={"language": language})

    @property
    def chunks(self) -> ChunkTokenizer:
        language = self.config.language
        return ChunkTokenizer(self.tokenizer, bos_id=language.bos_id, eos_id=language.eos_id)

    @cached_property
    def films_key(self) -> str:
        return films_key(self.records, self.preset.model.image_size_px)

    def films(self) -> Films:
        path = self.out / f"films-{self.films_key}.npy"
        with self.accelerator.main_process_first():
            return load_films(self.records, self.config.image_size_px, path, self.progress)

    def facts(self, stage: StageName) -> dict[str, object]:
        """All that the result of a stage depends on, as JSON takes it."""
        concerned = {"model", "seed", "held_out", "max_positions", stage.value, _CONCERNS.get(stage, "seed")}
        texts = [(record.id, record.reason, record.findings, record.labels) for record in self.records]
        return {
            "films": self.films_key,
            "texts": hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
            "settings": self.preset.model_dump(mode="json", include=concerned),
            "earlier": {name.value: weights_digest(self.folder(name)) for name in _earlier(stage)},
        }

    def folder(self, stage: StageName) -> Path:
        return self.out / stage

    def first_language(self) -> LlamaForCausalLM:
        """What a language stage begins with."""
        return sources.new_language(self.config, self.preset.seed)

    def language(self) -> LlamaForCausalLM:
        """What alignment and tuning begin with."""
        if self.preset.language is None:
            return sources.published_language(self.sources)
        model = self.first_language()
        model.load_state_dict(self._made(StageName.LANGUAGE, "language."))
        return model

    def tower(self) -> Dinov2Model:
        """As contrastive training left it."""
        tower = build_tower(self.config)
        tower.load_state_dict(self._made(StageName.CONTRASTIVE, "tower."))
        return tower

    def projector(self, stage: StageName | None) -> Projector:
        """As a stage left it, or with random weights."""
        torch.manual_seed(self.preset.seed)
        projector = Projector(self.config.vision.hidden_size, self.config.language.hidden_size)
        if stage is not None:
            projector.load_state_dict(self._made(stage, "pictures.projector."))
        return projector

    def _made(self, stage: StageName, prefix: str) -> dict[str, torch.Tensor]:
        if not is_done(self.folder(stage)):
            raise Permanent(f"{self.out} has no finished stage {stage}: run it first")
        return read_weights(self.folder(stage), prefix)


def _earlier(stage: StageName) -> list[StageName]:
    names = list(StageName)
    return names[: names.index(stage)]
