"""What an engine gives and says of itself: without torch, so that the parent of the model's process stays light."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Findings:
    """One draft. `token_count` is without the end mark: if it is `max_new_tokens`, the draft was cut short."""

    text: str
    token_count: int
    seconds: float
    # Share of the image's area, 0 to 1, that the model did not see.
    cropped_fraction: float
    # (sentences, side, side) uint8: where it looked in the centre square while it wrote each sentence of the text.
    attention: NDArray[np.uint8] | None = field(default=None, compare=False)
    attention_fault: str = field(default="", compare=False)  # where it failed, if that is why there is none


@dataclass(frozen=True)
class EngineIdentity:
    """Which model wrote a draft: equal digests (64 hexadecimal digits) are equal files, prompt and settings."""

    name: str
    version: str
    digest: str
    is_synthetic: bool  # for tests alone: it has learned from no patient's image


class Writer(Protocol):
    """Whatever drafts findings: the engine itself, the process that holds it, or a double in a test."""

    @property
    def identity(self) -> EngineIdentity: ...

    def write_findings(self, pixels: NDArray[np.uint8], indication: str | None) -> Findings:
        """Draft the findings of one frontal radiograph; callable from several threads.

        pixels: (H, W), 0 black to 255 white. Raises EngineLost, UndecodablePixels or InvalidOutput.
        """
        ...
