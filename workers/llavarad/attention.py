"""Where the model looked while it wrote: one map of the image for each sentence."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.flags import Span


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
