"""Scorers that need weights which this project may not ship: plug-ins, found by name among the installed packages.

A package offers one under the entry-point group `dicom_node.scorers`: `chexbert`, a function without arguments that
returns a Labeller; `radgraph`, one that returns an Extractor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from workers.evaluation.labels import Labels

GROUP = "dicom_node.scorers"
Entity = tuple[str, str, bool]  # its words, its label, and whether it has any relation
Entities = frozenset[Entity]


@dataclass(frozen=True)
class Lack:
    """What is not measured, and the one sentence that says what it would need."""

    metric: str
    sentence: str


CHEXBERT_LACK = Lack(
    "CheXbert F1",
    "CheXbert F1 is not measured: it needs the weights chexbert.pth (StanfordAIMI/RRG_scorers on the Hugging Face hub) "
    f"behind a plug-in `chexbert` of the group {GROUP}, or reference_labels and candidate_labels on every line.",
)
RADGRAPH_LACK = Lack(
    "F1-RadGraph",
    "F1-RadGraph is not measured: it needs the weights radgraph.tar.gz (StanfordAIMI/RRG_scorers on the Hugging Face "
    f"hub, revision d97745aa) and radgraph 0.0.9 behind a plug-in `radgraph` of the group {GROUP}.",
)


class Labeller(Protocol):
    """CheXbert, or what labels as it does."""

    def label(self, texts: Sequence[str]) -> Labels:
        """(N, 14) classes, see `labels`."""
        ...


class Extractor(Protocol):
    """RadGraph, or what annotates as it does."""

    def extract(self, texts: Sequence[str]) -> Sequence[Entities]:
        """The entities of each text."""
        ...


def find_labeller() -> Labeller | Lack:
    """The installed CheXbert plug-in."""
    found = _find("chexbert")
    return cast(Labeller, found()) if found else CHEXBERT_LACK


def find_extractor() -> Extractor | Lack:
    """The installed RadGraph plug-in."""
    found = _find("radgraph")
    return cast(Extractor, found()) if found else RADGRAPH_LACK


def radgraph_f1(references: Sequence[Entities], candidates: Sequence[Entities]) -> NDArray[np.float64]:
    """(N,), 0 to 1: F1 of the entities of each report; 0 if either side has none. Source: RadGraph reward `partial`."""
    return np.array([_f1(*pair) for pair in zip(references, candidates, strict=True)], dtype=np.float64)


def _f1(reference: Entities, candidate: Entities) -> float:
    common = len(reference & candidate)
    return 2 * common / (len(reference) + len(candidate)) if common else 0.0


def _find(name: str) -> Callable[[], object] | None:
    for each in entry_points(group=GROUP, name=name):
        return cast(Callable[[], object], each.load())
    return None
