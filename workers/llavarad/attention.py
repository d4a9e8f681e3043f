"""Where the model looks while it writes: the weights of its attention over the patches of the image.

They say what the answer could draw on, not why it says what it says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, LlamaForCausalLM
from transformers.cache_utils import DynamicLayer
from transformers.models.llama.modeling_llama import LlamaAttention, rotate_half

from dicom_node.flags import Span
from dicom_node.logs import places


class Gaze:
    """What the newest position of each step attended to; one row for each token that was written."""

    def __init__(self, image: slice, layers: int) -> None:
        """image: the prompt's positions that hold the image. layers: how many are watched."""
        self._image = image
        self._layers = layers
        self.fault = ""  # where the watching failed: then there is nothing to be seen
        self._rows: list[Tensor] = []
        self._seen = 0

    @contextmanager
    def spare_the_draft(self) -> Iterator[None]:
        """A failure ends the watching, not the writing; that notices itself if the device is broken."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  it rests on what transformers does not promise
            self.fault = places(error)

    def add(self, weights: Tensor) -> None:
        """Take one layer's weights, (length) float32; the watched layers come in turn, step by step."""
        row = weights[self._image] / self._layers
        if self._seen % self._layers == 0:
            self._rows.append(row)
        else:
            self._rows[-1] += row
        self._seen += 1

    def rows(self) -> NDArray[np.float32]:
        """(tokens, patches): the share of the attention that went to each patch, averaged over heads and layers."""
        stacked: NDArray[np.float32] = torch.stack(self._rows).cpu().numpy()
        return stacked


@contextmanager
def watch(language_model: LlamaForCausalLM, image: slice) -> Iterator[Gaze]:
    """Watch the last half of the layers while the model writes.

    Weights are computed again from queries and keys, for the newest position alone: the fast kernels give none, and
    what is written stays bit for bit the same.
    """
    layers = [layer.self_attn for layer in language_model.model.layers[len(language_model.model.layers) // 2 :]]
    gaze = Gaze(image, len(layers))

    def look(module: LlamaAttention, _: tuple[()], given: dict[str, Any], output: object) -> None:
        if not gaze.fault:
            with gaze.spare_the_draft():
                gaze.add(_weights_of_newest(module, given))

    handles = [layer.register_forward_hook(look, with_kwargs=True) for layer in layers]
    try:
        yield gaze
    finally:
        for handle in handles:
            handle.remove()


def map_sentences(rows: NDArray[np.float32], sentences: Sequence[Span], ends: Sequence[int]) -> NDArray[np.uint8]:
    """The mean of the rows of each sentence's tokens as a map, its strongest patch 255.

    rows: (tokens, patches), patches a square, row by row. ends: where in the text each token has ended.
    Returns (sentences, side, side).
    """
    side = round(rows.shape[1] ** 0.5)
    maps = [_brighten(_mean(rows, sentence, ends)).reshape(side, side) for sentence in sentences]
    return np.array(maps, dtype=np.uint8).reshape(-1, side, side)


def _mean(rows: NDArray[np.float32], sentence: Span, ends: Sequence[int]) -> NDArray[np.float32]:
    """Of the tokens that end within the sentence; of none, nothing."""
    start, end = sentence
    chosen = [row for row, at in zip(rows, ends, strict=True) if start < at <= end]
    return np.mean(chosen, axis=0, dtype=np.float32) if chosen else np.zeros(rows.shape[1], np.float32)


def _brighten(patches: NDArray[np.float32]) -> NDArray[np.uint8]:
    strongest = float(patches.max()) or 1.0
    levels: NDArray[np.uint8] = np.rint(patches / strongest * 255).astype(np.uint8)
    return levels


def _weights_of_newest(attention: LlamaAttention, given: dict[str, Any]) -> Tensor:
    """(length) float32, the mean of all heads. Source: transformers' `LlamaAttention.forward` and `eager_attention`."""
    # By its type, because the argument's name is not the same in all releases of transformers.
    cache = next(value for value in given.values() if isinstance(value, DynamicCache))
    layer = cast(DynamicLayer, cache.layers[attention.layer_idx])
    keys = cast(Tensor, layer.keys)  # (1, key heads, length, head size), rotated
    cos, sin = (each[:, None, -1:] for each in given["position_embeddings"])
    query = attention.q_proj(given["hidden_states"][:, -1:]).view(1, -1, 1, attention.head_dim)
    query = query * cos + rotate_half(query) * sin  # type: ignore[no-untyped-call]  # theirs has no types
    grouped = query.view(1, keys.shape[1], -1, attention.head_dim)  # the heads that share a key head lie together
    scores = grouped @ keys.transpose(2, 3) * attention.scaling
    weights: Tensor = scores.float().softmax(-1).mean((0, 1, 2))
    return weights
