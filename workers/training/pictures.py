"""What stands at the image's place of the prompt: words, or a film's features through the projector."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn
from transformers import Dinov2Model

from workers.llavarad.projector import Projector
from workers.llavarad.vision import patch_features
from workers.training.files import new_array, whole_file
from workers.training.films import Films, normalise
from workers.training.plan import Indices

_AT_ONCE = 64
Features = Callable[[Indices], Tensor]


class WordPictures(nn.Module):
    """Words instead of an image. ids: (N, P) int64 of the language model's vocabulary."""

    def __init__(self, table: nn.Module, ids: Tensor) -> None:
        super().__init__()
        self.table = table
        self._ids = ids

    def forward(self, indices: Indices) -> Tensor:
        """(B, P, language hidden)."""
        weight = next(self.table.parameters())
        words: Tensor = self.table(self._ids[indices].to(weight.device))
        return words


class FilmPictures(nn.Module):
    """Films through tower and projector, as the finished model does it. `features` takes no gradient."""

    def __init__(self, projector: Projector, features: Features) -> None:
        super().__init__()
        self.projector = projector
        self.features = features

    def forward(self, indices: Indices) -> Tensor:
        """(B, P, language hidden)."""
        weight = self.projector.linear_1.weight
        pictures: Tensor = self.projector(self.features(indices).to(weight.device, weight.dtype))
        return pictures


class FreshFeatures(nn.Module):
    """A film's features, computed each time."""

    def __init__(self, tower: Dinov2Model, films: Films, *, blocks: int) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self._films = films
        self._blocks = blocks

    @torch.no_grad()
    def forward(self, indices: Indices) -> Tensor:
        """(B, P, vision hidden)."""
        weight = next(self.tower.parameters())
        pixels = torch.from_numpy(normalise(self._films[indices])).to(weight.device, weight.dtype)
        return patch_features(self.tower, pixels, blocks=self._blocks)


class KeptFeatures:
    """A film's features, computed before. features: (N, P, vision hidden) float16."""

    def __init__(self, features: NDArray[np.float16]) -> None:
        self._features = features

    def __call__(self, indices: Indices) -> Tensor:
        """(B, P, vision hidden)."""
        return torch.from_numpy(self._features[indices])


def keep_features(features: FreshFeatures, films: int, path: Path, progress: Progress) -> KeptFeatures:
    """Compute the features of all films into the file `path`, unless it is there. Raises StorageFull."""
    if not path.exists():
        with whole_file(path) as part:
            _compute_all(features, films, part, progress)
    return KeptFeatures(np.load(path, mmap_mode="r"))


def _compute_all(features: FreshFeatures, films: int, part: Path, progress: Progress) -> None:
    shape = (films, *features(np.array([0])).shape[1:])
    kept = new_array(part, np.float16, shape)
    for indices in progress.track(list(_pieces(films)), description="features"):
        kept[indices] = features(indices).to(torch.float16).cpu().numpy()
    kept.flush()


def _pieces(count: int) -> Iterator[Indices]:
    return (np.arange(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))
