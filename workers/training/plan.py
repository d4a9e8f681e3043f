"""Which records each step learns from and how fast: pure functions of the step, so that a run can begin anywhere."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import Permanent
from workers.training.preset import StageSettings

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """A stage's steps over `records` records."""

    records: int
    settings: StageSettings
    seed: int

    def __post_init__(self) -> None:
        if self.records < self.settings.batch:
            raise Permanent(f"{self.records} records are fewer than one batch of {self.settings.batch}")

    @property
    def steps(self) -> int:
        return self.settings.epochs * self._steps_per_epoch

    def batch(self, step: int) -> Indices:
        """(batch,) indices: each epoch in an order of its own, without the last records if they fill no batch."""
        epoch, place = divmod(step, self._steps_per_epoch)
        order: Indices = np.random.default_rng([self.seed, epoch]).permutation(self.records)
        return order[place * self.settings.batch : (place + 1) * self.settings.batch]

    def learning_rate(self, step: int) -> float:
        """Linear up over the first steps, then half a cosine down to zero. Source: transformers, `cosine`."""
        warm = math.ceil(self.settings.warm_up * self.steps)
        if step < warm:
            return self.settings.learning_rate * step / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def _steps_per_epoch(self) -> int:
        return self.records // self.settings.batch
