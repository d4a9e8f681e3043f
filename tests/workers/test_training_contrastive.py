"""The contrastive loss: which pairs are right, what it costs, and how retrieval is counted."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from workers.training.contrastive import PairLoss, TextEncoder, Texts, number_texts
from workers.training.plan import Indices


class Given(PairLoss):
    """Given embeddings in the place of both towers."""

    def __init__(self, image: Tensor, text: Tensor, texts: Texts) -> None:
        tower = torch.nn.Identity()
        tower.config = SimpleNamespace(hidden_size=2)
        films = np.zeros((len(texts), 1, 1), np.uint8)
        super().__init__(tower, torch.nn.Identity(), films, texts, size=2)  # type: ignore[arg-type]
        self._image, self._text = image, text

    def embed_images(self, indices: Indices) -> Tensor:
        return self._image[indices]

    def embed_texts(self, numbers: Sequence[int]) -> Tensor:
        return self._text[list(numbers)]


def test_equal_texts_are_one() -> None:
    assert number_texts([[[5, 6]], [[7], [5, 6]], [[7]]]) == ([(5, 6), (7,)], [{0}, {0, 1}, {1}])


def test_every_text_is_asked_of_every_film_and_right_for_all_that_have_it() -> None:
    image, text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), torch.eye(2)
    objective = Given(image, text, [[[5, 6]], [[7], [5, 6]], [[7]]])

    right = torch.tensor([[1, 0], [1, 1], [0, 1]]) > 0
    logits = 10 * image @ text.T - 3
    expected = -torch.nn.functional.logsigmoid(torch.where(right, logits, -logits)).sum()
    assert objective(np.arange(3)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert objective.weight(np.arange(3)) == 3


def test_only_the_texts_of_the_batch_are_asked() -> None:
    image, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2)
    objective = Given(image, text, [[[5]], [[7]]])

    expected = -torch.nn.functional.logsigmoid(torch.tensor(10.0 - 3.0))
    assert objective(np.array([0])).item() == pytest.approx(expected.item(), rel=1e-4)


def test_recall_counts_what_is_said_and_not_which_film() -> None:
    image, text = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), torch.eye(2)

    assert Given(image, text, [[[5]], [[5]], [[7]]]).recall_at_1(np.arange(3)) == (1.0, 1.0)
    by_image, by_text = Given(image, text, [[[5]], [[7]], [[7]]]).recall_at_1(np.arange(3))
    assert (by_image, by_text) == (pytest.approx(2 / 3), 1.0)


def test_padding_does_not_change_a_texts_embedding() -> None:
    torch.manual_seed(0)
    bert = BertModel(
        BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32),
        add_pooling_layer=False,
    )
    encoder = TextEncoder(bert, 8).eval()

    with torch.no_grad():
        together, alone = encoder([[1, 5], [1, 6, 7, 8, 9]]), encoder([[1, 5]])

    assert together.shape == (2, 8)
    assert torch.allclose(together[:1], alone, atol=1e-5)
