"""The stages: what each learns, with which loss, from what those before it made."""

from collections.abc import Sequence

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM

from dicom_node.errors import Permanent
from workers.llavarad.lora import TARGETS
from workers.training.contrastive import PairLoss
from workers.training.generative import ReportLoss
from workers.training.language import told_ids
from workers.training.loop import Objective, Stage
from workers.training.pictures import Features, FilmPictures, FreshFeatures, WordPictures, keep_features
from workers.training.plan import Plan
from workers.training.preset import LoraSettings, StageSettings
from workers.training.recipe import Recipe, StageName
from workers.training.records import Record
from workers.training.samples import Sample, cut, instruction_sample, plain_sample
from workers.training.sources import first_tower, text_encoder, text_ids
from workers.training.state import weights_digest

_CHECKPOINTING = {"use_reentrant": False}  # the other kind needs inputs that take a gradient


def build_stage(recipe: Recipe, name: StageName) -> Stage:
    """Raises Permanent if a stage that it needs is not done, or a folder of weights is not named."""
    build = {
        StageName.LANGUAGE: _language,
        StageName.CONTRASTIVE: _contrastive,
        StageName.ALIGNMENT: _alignment,
        StageName.TUNING: _tuning,
    }
    return build[name](recipe)


def add_adapter(language: LlamaForCausalLM, lora: LoraSettings, *, seed: int) -> nn.Module:
    """The language model, frozen, with an adapter over all linears of its layers."""
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(TARGETS),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(language, settings)


def _language(recipe: Recipe) -> Stage:
    """Both templates, with words in the image's place; every weight of the language model learns."""
    if recipe.preset.language is None:
        raise Permanent("this preset begins with a published language model: it has no stage language")
    language, tokens = recipe.first_language(), recipe.config.image_tokens
    learn, measure = recipe.records[: recipe.learning], recipe.records[recipe.learning :]
    samples = [each for part in (learn, measure) for make in (_plain, _instruction) for each in make(recipe, part)]
    twice = [*learn, *learn, *measure, *measure]
    told = told_ids(recipe.chunks, twice, picture_tokens=tokens, seed=recipe.preset.seed)
    objective = ReportLoss(
        WordPictures(language.get_input_embeddings(), told), language, samples, picture_tokens=tokens
    )
    return _stage(recipe, StageName.LANGUAGE, objective, recipe.preset.language, samples_per_record=2)


def _contrastive(recipe: Recipe) -> Stage:
    """Tower and text encoder learn together; only the tower is used later."""
    preset = recipe.preset
    tower = first_tower(recipe.config, recipe.sources, preset.seed)
    if preset.gradient_checkpointing:
        tower.gradient_checkpointing_enable(_CHECKPOINTING)  # type: ignore[no-untyped-call]  # theirs has no types
    text = text_encoder(preset, recipe.sources, vocab_size=recipe.config.language.vocab_size)
    texts = text_ids(preset, recipe.sources, recipe.chunks, recipe.records)
    objective = PairLoss(tower, text, recipe.films(), texts, size=preset.text.embedding_size)
    return _stage(recipe, StageName.CONTRASTIVE, objective, preset.contrastive)


def _alignment(recipe: Recipe) -> Stage:
    """Only the projector learns."""
    language = recipe.language().requires_grad_(False)
    pictures = FilmPictures(recipe.projector(None), _features(recipe))
    objective = _report_loss(recipe, pictures, language, _plain(recipe, recipe.records))
    return _stage(recipe, StageName.ALIGNMENT, objective, recipe.preset.alignment)


def _tuning(recipe: Recipe) -> Stage:
    """Projector and adapter learn, on the instruction that the model is used with."""
    language = add_adapter(recipe.language(), recipe.preset.lora, seed=recipe.preset.seed)
    pictures = FilmPictures(recipe.projector(StageName.ALIGNMENT), _features(recipe))
    objective = _report_loss(recipe, pictures, language, _instruction(recipe, recipe.records))
    return _stage(recipe, StageName.TUNING, objective, recipe.preset.tuning)


def _report_loss(recipe: Recipe, pictures: FilmPictures, language: nn.Module, samples: Sequence[Sample]) -> ReportLoss:
    if recipe.preset.gradient_checkpointing:
        language.gradient_checkpointing_enable(_CHECKPOINTING)  # type: ignore[operator]  # transformers' own
    return ReportLoss(pictures, language, samples, picture_tokens=recipe.config.image_tokens)


def _stage(
    recipe: Recipe, name: StageName, objective: Objective, settings: StageSettings, *, samples_per_record: int = 1
) -> Stage:
    learned, everything = (samples_per_record * count for count in (recipe.learning, len(recipe.records)))
    plan = Plan(learned, settings, recipe.preset.seed)
    return Stage(name, objective, plan, np.arange(learned, everything), recipe.folder(name))


def _features(recipe: Recipe) -> Features:
    films = recipe.films()
    fresh = FreshFeatures(recipe.tower(), films, blocks=recipe.config.feature_blocks)
    if not recipe.preset.keep_features:
        return fresh
    tower = weights_digest(recipe.folder(StageName.CONTRASTIVE))
    path = recipe.out / f"features-{recipe.films_key}-{tower[:16]}.npy"
    fresh.to(recipe.accelerator.device)
    with recipe.accelerator.main_process_first():
        return keep_features(fresh, len(films), path, recipe.progress)


def _plain(recipe: Recipe, records: Sequence[Record]) -> list[Sample]:
    return [_cut(recipe, plain_sample(recipe.chunks, record)) for record in records]


def _instruction(recipe: Recipe, records: Sequence[Record]) -> list[Sample]:
    eos_id = recipe.config.language.eos_id
    return [_cut(recipe, instruction_sample(recipe.chunks, record, eos_id=eos_id)) for record in records]


def _cut(recipe: Recipe, sample: Sample) -> Sample:
    return cut(sample, picture_tokens=recipe.config.image_tokens, max_positions=recipe.preset.max_positions)
