"""The loss of everything that writes: the language model's own stage, alignment, and tuning."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.training.loop import Objective
from workers.training.plan import Indices
from workers.training.samples import UNSCORED, Sample, collate


class ReportLoss(Objective):
    """Cross-entropy of the answers' tokens, given the image and the words before them.

    pictures: indices to (B, P, hidden). language: a causal language model that takes embeddings. samples: one for each
    index.
    """

    def __init__(
        self, pictures: nn.Module, language: nn.Module, samples: Sequence[Sample], *, picture_tokens: int
    ) -> None:
        super().__init__()
        self.language = language  # first: its name is the one that a shared table goes by
        self.pictures = pictures
        self._samples = samples
        self._picture_tokens = picture_tokens

    def forward(self, indices: Indices) -> Tensor:
        samples = [self._samples[index] for index in indices]
        batch = collate(samples, picture_tokens=self._picture_tokens)
        first = self._picture_tokens + min(len(sample.before) + len(sample.after) for sample in samples)
        return self._loss(self._embed(indices, batch.ids, batch.is_picture), batch.targets[:, first:])

    def weight(self, indices: Indices) -> float:
        return float(sum(len(self._samples[index].answer) for index in indices))

    def _embed(self, indices: Indices, ids: Tensor, is_picture: Tensor) -> Tensor:
        """(B, L, hidden): the words' vectors, with the pictures' in their place."""
        table = self.language.get_input_embeddings()  # type: ignore[operator]  # a method of every transformers model
        words: Tensor = table(ids.to(table.weight.device))
        pictures = self.pictures(indices).to(words.dtype)
        return words.masked_scatter(is_picture.to(words.device).unsqueeze(-1), pictures)

    def _loss(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """targets: (B, T), those of the last T positions. The position before the first one predicts it."""
        output = self.language(inputs_embeds=embeddings, logits_to_keep=targets.shape[1] + 1, use_cache=False)
        logits = output.logits[:, :-1].to(torch.float32)
        return functional.cross_entropy(
            logits.flatten(0, 1), targets.to(logits.device).flatten(), reduction="sum", ignore_index=UNSCORED
        )
