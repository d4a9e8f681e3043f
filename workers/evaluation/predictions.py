"""The input: one JSON object a line with id, reference and candidate."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import Permanent

# LLaVA-Rad's own evaluation files say `prediction` for the candidate.
_CANDIDATE_NAMES = ("candidate", "prediction")


@dataclass(frozen=True)
class Pair:
    """What a radiologist wrote and what a model wrote; the label vectors are empty where the line has none."""

    id: str
    reference: str
    candidate: str
    reference_labels: Sequence[int] = ()
    candidate_labels: Sequence[int] = ()


def read_pairs(path: Path) -> list[Pair]:
    """Raises Permanent naming the first line that cannot be used, never its text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # some programs begin with a BOM
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(f"{path} cannot be read as a UTF-8 file") from error
    pairs = [_pair(line, number) for number, line in enumerate(lines, start=1) if line.strip()]
    if not pairs:
        raise Permanent(f"{path} holds no pairs: expected one JSON object a line with id, reference and candidate")
    _refuse_doubles(pairs)
    return pairs


def have_labels(pairs: Iterable[Pair]) -> bool:
    """Every pair brings both label vectors."""
    return all(pair.reference_labels and pair.candidate_labels for pair in pairs)


def _pair(line: str, number: int) -> Pair:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"line {number} is not JSON") from error
    if not isinstance(entry, dict):
        raise Permanent(f"line {number} is not a JSON object with id, reference and candidate")
    return Pair(
        id=str(entry.get("id", number)),
        reference=_text(entry, ("reference",), number),
        candidate=_text(entry, _CANDIDATE_NAMES, number),
        reference_labels=_labels(entry, "reference_labels", number),
        candidate_labels=_labels(entry, "candidate_labels", number),
    )


def _text(entry: dict[str, object], names: Sequence[str], number: int) -> str:
    for name in names:
        value = entry.get(name)
        if isinstance(value, str):
            return value
    raise Permanent(f"line {number} has no text `{names[0]}`")


def _labels(entry: dict[str, object], name: str, number: int) -> list[int]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise Permanent(f"line {number}: `{name}` is not a list of whole numbers")
    return value


def _refuse_doubles(pairs: Iterable[Pair]) -> None:
    seen: set[str] = set()
    for number, pair in enumerate(pairs, start=1):
        if pair.id in seen:
            raise Permanent(f"pair {number} has the id of an earlier one: ids must differ")
        seen.add(pair.id)
