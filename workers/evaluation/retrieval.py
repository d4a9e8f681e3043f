"""Cross-modal retrieval: does an image find its own report among all, and a report its image?"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import Permanent

DEPTHS = (1, 5, 10)
_BLOCK_ROWS = 512
Vectors = NDArray[np.float32]  # (N, D), row i of the images belongs to row i of the texts


@dataclass(frozen=True)
class Retrieval:
    """Ranks begin at 1. `recall` is the share, 0 to 1, whose match is among the first 1, 5 and 10."""

    recall: dict[int, float]
    mean_rank: float
    median_rank: float


def read_embeddings(path: Path) -> tuple[Vectors, Vectors]:
    """`image` and `text` of an .npz file. Raises Permanent if they are missing, of different shapes or not finite."""
    try:
        # Opened here: numpy leaves open what it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            image, text = (np.asarray(arrays[name], dtype=np.float32) for name in ("image", "text"))
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise Permanent(f"{path.name} is not an .npz file with the arrays `image` and `text`") from error
    if image.shape != text.shape or image.ndim != 2 or not len(image):
        raise Permanent(f"{path.name}: image is {image.shape}, text {text.shape}, expected one (N, D) for both")
    return _normalise(image, path.name), _normalise(text, path.name)


def retrieve(queries: Vectors, targets: Vectors) -> Retrieval:
    """Measure how well row i of the queries finds row i of the targets, by dot product."""
    ranks = match_ranks(queries, targets)
    recall = {depth: float((ranks <= depth).mean()) for depth in DEPTHS}
    return Retrieval(recall, float(ranks.mean()), float(np.median(ranks)))


def match_ranks(queries: Vectors, targets: Vectors) -> NDArray[np.int64]:
    """(N,) the rank of each query's match.

    A tie counts against the match: a model that gives every image the same vector must not look perfect.
    """
    starts = range(0, len(queries), _BLOCK_ROWS)
    return np.concatenate([_block_ranks(queries[start : start + _BLOCK_ROWS], targets, start) for start in starts])


def _block_ranks(queries: Vectors, targets: Vectors, start: int) -> NDArray[np.int64]:
    similarity = queries @ targets.T
    rows = np.arange(len(queries))
    own = similarity[rows, start + rows]
    ranks: NDArray[np.int64] = (similarity >= own[:, None]).sum(axis=1)
    return ranks


def _normalise(vectors: Vectors, name: str) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise Permanent(f"{name} holds a vector that is zero or not finite")
    return np.asarray(vectors / lengths, dtype=np.float32)
