"""`dicom-node benchmark`: how long a draft takes with this node's model on this machine."""

import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.config import Settings
from workers.engine_process import EngineProcess
from workers.phantom.case import draw_case
from workers.phantom.film import film_dataset
from workers.pixels import read_pixels
from workers.terms import require_terms

_SEED = 2
_LONGEST_S = 3600.0  # of one draft: what a worker would give up is measured, too
_FILMED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Benchmark:
    """What was measured. A draft: from the pixels to its text, as the worker waits for it."""

    model: str
    load_seconds: float
    decode_seconds: float  # from the DICOM file to the pixels
    draft_seconds: tuple[float, ...]
    token_count: int  # of each: the film is the same
    timeout_s: float  # after which a worker gives a draft up

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.draft_seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.token_count / self.median_seconds

    @property
    def sentences(self) -> tuple[str, ...]:
        shortest, longest = min(self.draft_seconds), max(self.draft_seconds)
        told = (
            f"{self.model}: loaded in {self.load_seconds:.1f} s; a film is decoded in {self.decode_seconds:.2f} s.",
            f"A draft of {self.token_count} tokens takes {self.median_seconds:.2f} s "
            f"({shortest:.2f} to {longest:.2f} s in {len(self.draft_seconds)}).",
            f"{self.tokens_per_second:.1f} tokens in a second; "
            f"{3600 / (self.median_seconds + self.decode_seconds):.0f} studies in an hour, one after the other.",
        )
        if longest < self.timeout_s:
            return told
        return (*told, f"A worker gives a draft up after {self.timeout_s:g} s: raise `inference_timeout_s`.")

    def as_json(self) -> dict[str, object]:
        derived = {"median_seconds": self.median_seconds, "tokens_per_second": self.tokens_per_second}
        return asdict(self) | derived


def measure(settings: Settings, times: int) -> Benchmark:
    """Draft one synthetic film so many times, after once to warm up, in a process of its own as the worker does.

    Raises BadCheckpoint or EngineLost as the worker would.
    """
    require_terms(settings)
    pixels, decode_seconds = _film()
    timeout_s = settings.inference_timeout_s
    writer = EngineProcess(
        settings.checkpoint_dir, max_new_tokens=settings.max_new_tokens, timeout_s=max(timeout_s, _LONGEST_S)
    )
    with closing(writer):
        began = time.monotonic()
        writer.start()
        load_seconds = time.monotonic() - began
        tokens = writer.write_findings(pixels, indication=None).token_count
        seconds = tuple(_draft(writer, pixels) for _ in range(times))
        identity = writer.identity
    return Benchmark(f"{identity.name} {identity.version}", load_seconds, decode_seconds, seconds, tokens, timeout_s)


def _film() -> tuple[NDArray[np.uint8], float]:
    """The pixels of a phantom as the model is given them, and how long that took."""
    with tempfile.TemporaryDirectory(prefix="dicom-node-") as folder:
        film = Path(folder) / "film.dcm"
        film_dataset(draw_case(_SEED), studied_at=_FILMED_AT).save_as(film, enforce_file_format=True)
        began = time.monotonic()
        pixels = read_pixels(film)
        return pixels, time.monotonic() - began


def _draft(writer: EngineProcess, pixels: NDArray[np.uint8]) -> float:
    began = time.monotonic()
    writer.write_findings(pixels, indication=None)
    return time.monotonic() - began
