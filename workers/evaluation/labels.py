"""F1 of the 14 CheXpert labels that CheXbert reads from a report, and of the 5 that papers set apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import Permanent

LABELS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)  # the order of CheXbert's heads
FIVE = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
BLANK, POSITIVE, NEGATIVE, UNCERTAIN = range(4)  # CheXbert's classes
Labels = NDArray[np.int8]  # (N, 14) of these classes
Outcomes = NDArray[np.int64]  # (N, 3, labels): hit, false alarm, miss


def as_labels(rows: Sequence[Sequence[int]]) -> Labels:
    """Raises Permanent naming the first row that is not 14 classes."""
    for number, row in enumerate(rows, start=1):
        if len(row) != len(LABELS) or not all(value in range(4) for value in row):
            raise Permanent(f"label vector {number}: expected {len(LABELS)} classes 0 to 3, found {len(row)} values")
    return np.array(rows, dtype=np.int8).reshape(-1, len(LABELS))


def outcomes(reference: Labels, candidate: Labels, names: Sequence[str] = LABELS) -> Outcomes:
    """Per report and label: hit, false alarm or miss. Uncertain counts as negative, as in the paper's table."""
    columns = [LABELS.index(name) for name in names]
    expected, found = reference[:, columns] == POSITIVE, candidate[:, columns] == POSITIVE
    return np.stack([expected & found, ~expected & found, expected & ~found], axis=1).astype(np.int64)


def micro_f1(rows: Outcomes) -> float:
    """0 to 1, of all labels together; 0 if nothing is positive on either side."""
    return float(_f1(rows.sum(axis=(0, 2))))


def macro_f1(rows: Outcomes) -> float:
    """0 to 1, the mean of the labels' F1; a label that occurs on neither side counts 0, as in the paper."""
    return float(label_f1(rows).mean())


def label_f1(rows: Outcomes) -> NDArray[np.float64]:
    """(labels,), 0 to 1."""
    return _f1(rows.sum(axis=0))


def _f1(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    hits, false_alarms, misses = sums.astype(np.float64)
    return np.asarray(2 * hits / np.maximum(2 * hits + false_alarms + misses, 1))
