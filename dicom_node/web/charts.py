"""Where the bars of a chart stand. The template draws them as SVG; all are said in a table, too."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 96  # of the drawing, its own units
_GAP = 3.0
_EVERY_HOURS = 6  # a label below the bars


@dataclass(frozen=True)
class Bar:
    """A rectangle from the ground up."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """One number for each hour."""

    name: str
    total: int
    most: int  # of an hour: what the highest bar stands for
    bars: Sequence[Bar]
    label_at: Sequence[tuple[float, int]]  # x, and which hour it is of


def draw(name: str, counts: Sequence[int]) -> Chart:
    most, step = max(counts), WIDTH / len(counts)
    heights = [HEIGHT * count / most if most else 0.0 for count in counts]
    bars = [
        Bar(number * step + _GAP / 2, HEIGHT - height, step - _GAP, height) for number, height in enumerate(heights)
    ]
    labels = [(number * step, number) for number in range(0, len(counts), _EVERY_HOURS)]
    return Chart(name, sum(counts), most, bars, labels)
