"""LLaVA-Rad from stock parts: DINOv2 tower, two-layer projector, Llama."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from workers.llavarad.config import LanguageConfig, ModelConfig
from workers.llavarad.projector import Projector
from workers.llavarad.vision import build_tower, patch_features


class LlavaRad(nn.Module):
    """Image and prompt in, findings out. Batches of one: every published run of LLaVA-Rad padded nothing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = build_tower(config)
        self.projector = Projector(config.vision.hidden_size, config.language.hidden_size)
        self.language_model = _build_language(config.language)

    def embed(self, pixels: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
        """The prompt with the image's vectors spliced in.

        pixels: (1, 3, S, S) float32. Returns (1, before + patches + after, hidden).
        """
        weight = self.projector.linear_1.weight
        features = patch_features(
            self.vision_tower, pixels.to(weight.device, weight.dtype), blocks=self.config.feature_blocks
        )
        table = self.language_model.get_input_embeddings()
        words = [table(torch.tensor([list(ids)], device=weight.device)) for ids in (before, after)]
        return torch.cat([words[0], self.projector(features), words[1]], dim=1)

    def forward(self, pixels: Tensor, before: Sequence[int], after: Sequence[int], *, last: int = 0) -> Tensor:
        """Logits (1, length, vocabulary) of the `last` positions of the prompt; 0 means all."""
        output = self.language_model(inputs_embeds=self.embed(pixels, before, after), logits_to_keep=last)
        logits: Tensor = output.logits
        return logits

    def write(self, pixels: Tensor, before: Sequence[int], after: Sequence[int], *, max_new_tokens: int) -> list[int]:
        """Greedy ids after the prompt, without the end mark."""
        embeddings = self.embed(pixels, before, after)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        settings = greedy(self.config.language, max_new_tokens=max_new_tokens)
        produced = self.language_model.generate(
            inputs_embeds=embeddings, attention_mask=mask, generation_config=settings
        )
        ids: list[int] = produced[0].tolist()
        return ids[:-1] if ids[-1:] == [self.config.language.eos_id] else ids


def greedy(language: LanguageConfig, *, max_new_tokens: int) -> GenerationConfig:
    """The official evaluation's settings: no sampling, one beam, stop at the end mark only."""
    return GenerationConfig(  # type: ignore[no-untyped-call]  # theirs has no types
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        bos_token_id=language.bos_id,
        eos_token_id=language.eos_id,
        pad_token_id=language.pad_id,
    )


def _build_language(language: LanguageConfig) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=language.vocab_size,
            hidden_size=language.hidden_size,
            intermediate_size=language.intermediate_size,
            num_hidden_layers=language.layers,
            num_attention_heads=language.heads,
            num_key_value_heads=language.key_value_heads,
            rms_norm_eps=language.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": language.rope_theta},
            max_position_embeddings=language.max_positions,
            bos_token_id=language.bos_id,
            eos_token_id=language.eos_id,
            pad_token_id=language.pad_id,
            tie_word_embeddings=False,
        )
    )
