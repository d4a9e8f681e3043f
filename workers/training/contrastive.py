"""Stage 1: the tower learns which texts belong to which film. Source: CLIP, arXiv 2103.00020, with the loss of SigLIP.

Image side as open_clip's TimmModel with a linear head, text side as its HFTextEncoder with `mlp` and CLS pooling, which
are what the published tower's configuration names.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel, Dinov2Model

from workers.training.films import Films, normalise
from workers.training.loop import Objective
from workers.training.plan import Indices

_FIRST_SCALE, _FIRST_BIAS = math.log(10), -3.0  # most texts are none of a film's
TextIds = Sequence[Sequence[int]]
Texts = Sequence[TextIds]


class TextEncoder(nn.Module):
    """A BERT's first token through a two-layer head. The texts' ids: BERT's own, with its first token in front."""

    def __init__(self, bert: BertModel, embedding_size: int) -> None:
        super().__init__()
        self.bert = bert
        width: int = bert.config.hidden_size
        middle = (width + embedding_size) // 2
        self.head = nn.Sequential(
            nn.Linear(width, middle, bias=False), nn.GELU(), nn.Linear(middle, embedding_size, bias=False)
        )

    def forward(self, texts: TextIds) -> Tensor:
        """(B, embedding)."""
        device = next(self.parameters()).device
        ids = nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
        lengths = torch.tensor([len(text) for text in texts])
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        output = self.bert(input_ids=ids.to(device), attention_mask=mask.long().to(device))
        embedding: Tensor = self.head(output.last_hidden_state[:, 0])
        return embedding


class PairLoss(Objective):
    """Whether a text belongs to a film, for every film and every text of the batch. Source: SigLIP, arXiv 2303.15343.

    A text that several films have is asked once, and is right for each of them: reports share what they say. Several
    devices compare each its own part of the batch.
    texts: for each film, its texts, as ids.
    """

    def __init__(self, tower: Dinov2Model, text: TextEncoder, films: Films, texts: Texts, *, size: int) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(tower.config.hidden_size, size, bias=False)
        self.text = text
        self.scale = nn.Parameter(torch.tensor(_FIRST_SCALE))
        self.bias = nn.Parameter(torch.tensor(_FIRST_BIAS))
        self._films = films
        self._library, self._held = number_texts(texts)

    def forward(self, indices: Indices) -> Tensor:
        numbers = sorted({number for index in indices for number in self._held[index]})
        logits = self.scale.exp() * self.embed_images(indices) @ self.embed_texts(numbers).T + self.bias
        right = self._is_right(indices, numbers).to(logits.device)
        return functional.binary_cross_entropy_with_logits(logits, right, reduction="sum")

    def weight(self, indices: Indices) -> float:
        return float(len(indices))

    def embed_images(self, indices: Indices) -> Tensor:
        """(B, size) float32 of unit length."""
        pixels = torch.from_numpy(normalise(self._films[indices])).to(self.scale.device)
        image = self.head(self.tower(pixels).last_hidden_state[:, 0])
        return functional.normalize(image.float(), dim=-1)

    def embed_texts(self, numbers: Sequence[int]) -> Tensor:
        """(T, size) float32 of unit length."""
        return functional.normalize(self.text([self._library[number] for number in numbers]).float(), dim=-1)

    @torch.no_grad()
    def recall_at_1(self, indices: Indices) -> tuple[float, float]:
        """How often the best text for a film is one of its own, and the best film for a text has it."""
        numbers = sorted({number for index in indices for number in self._held[index]})
        parts = np.array_split(indices, math.ceil(len(indices) / 64))
        image = torch.cat([self.embed_images(part) for part in parts])
        similarity = (image @ self.embed_texts(numbers).T).cpu()
        right = self._is_right(indices, numbers)
        by_image = right.gather(1, similarity.argmax(dim=1, keepdim=True)).mean()
        by_text = right.gather(0, similarity.argmax(dim=0, keepdim=True)).mean()
        return float(by_image), float(by_text)

    def _is_right(self, films: Indices, numbers: Sequence[int]) -> Tensor:
        """(films, texts) float32: 1 where the text is one of the film's."""
        rows = [[float(number in self._held[film]) for number in numbers] for film in films]
        return torch.tensor(rows)


def number_texts(texts: Texts) -> tuple[list[Sequence[int]], list[frozenset[int]]]:
    """Every text once, and for each film the numbers of its own."""
    numbers: dict[tuple[int, ...], int] = {}
    held = [frozenset(numbers.setdefault(tuple(text), len(numbers)) for text in own) for own in texts]
    return list(numbers), held
