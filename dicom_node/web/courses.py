"""Where the marks of a share over time stand, each with its interval. The template draws them; a table says all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dicom_node.shares import Median, Share

LEFT, RIGHT, TOP, BOTTOM = 50.0, 446.0, 8.0, 108.0  # of the drawing, its own units; a label is wider than a mark
_MOST_LABELS = 5


@dataclass(frozen=True)
class Mark:
    """A value, and how far down and up the true one may lie."""

    x: float
    y: float
    low_y: float
    high_y: float


@dataclass(frozen=True)
class Course:
    """One mark for each period of which there is a value."""

    name: str
    scale: Sequence[tuple[float, str]]  # y, and what stands there
    marks: Sequence[Mark]
    labels: Sequence[tuple[float, date]]  # x, and the day that stands there


def draw(name: str, values: Mapping[date, Share | Median | None], *, scale: Sequence[str]) -> Course:
    """values: 0 to 1, by the first day of the period, in order. scale: what 0, the middle and 1 are called."""
    there = {day: value for day, value in values.items() if value is not None}
    marks = [Mark(_x(day, values), *map(_y, (it.value, it.low, it.high))) for day, it in there.items()]
    days = list(there)
    every = -(-len(days) // _MOST_LABELS) or 1
    heights = [(_y(step / (len(scale) - 1)), words) for step, words in enumerate(scale)]
    return Course(name, heights, marks, [(_x(day, values), day) for day in days[::every]])


def _x(day: date, values: Mapping[date, object]) -> float:
    first, last = min(values), max(values)
    return LEFT + (RIGHT - LEFT) * ((day - first) / (last - first) if last > first else 0.5)


def _y(value: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * value
