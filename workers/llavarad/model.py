"""LLaVA-Rad from stock parts: DINOv2 tower, two-layer projector, Llama."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from workers.llavarad.config import LanguageConfig, ModelConfig
from workers.llavarad.decoder import Decoder, Written
from workers.llavarad.projector import Projector
from workers.llavarad.vision import build_tower, patch_features

_ROOM_STEP = 256  # tokens: a longer indication seldom needs new memory


class LlavaRad(nn.Module):
    """Image and prompt in, findings out. Batches of one: every published run of LLaVA-Rad padded nothing."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = build_tower(config)
        self.projector = Projector(config.vision.hidden_size, config.language.hidden_size)
        self.language_model = _build_language(config.language)
        self._decoder: Decoder | None = None

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

    def write(self, pixels: Tensor, before: Sequence[int], after: Sequence[int], *, max_new_tokens: int) -> Written:
        """Greedy ids after the prompt, as in the official evaluation: no sampling, one beam, to the end mark only."""
        decoder = self.make_room(before, after, max_new_tokens=max_new_tokens)
        prompt = self.embed(pixels, before, after[:-1])
        return decoder.write(prompt, after[-1], eos_id=self.config.language.eos_id, max_new_tokens=max_new_tokens)

    def make_room(self, before: Sequence[int], after: Sequence[int], *, max_new_tokens: int) -> Decoder:
        """What writes after such a prompt. From now on the weights must stay as they are."""
        tokens = len(before) + self.config.image_tokens + len(after) + max_new_tokens
        if self._decoder is None or self._decoder.room < tokens:
            self._decoder = None  # first, so that the memory of both is never taken at once
            self._decoder = Decoder(self.language_model, room=-(-tokens // _ROOM_STEP) * _ROOM_STEP)
        return self._decoder


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
