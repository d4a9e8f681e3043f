"""One picture of an evaluation: what was measured, how sure it is, and how the reports spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from workers.evaluation.chexprompt import ErrorType
from workers.evaluation.results import Evaluation, Judgement, Metric
from workers.evaluation.retrieval import Retrieval

# Everything is drawn at twice its size and scaled down: Pillow's lines have no soft edges of their own.
_SCALE = 2
_WIDTH, _MARGIN, _GUTTER, _ROW, _HEADING = 1440, 56, 72, 34, 44
_COLUMN = (_WIDTH - 2 * _MARGIN - _GUTTER) // 2
_LABEL_WIDTH, _VALUE_WIDTH = 240, 58
_PAPER, _INK, _FAINT, _GRID = "#ffffff", "#1d2733", "#66717f", "#e3e7ec"
_BLUE, _PALE_BLUE, _RED, _PALE_RED = "#1f5fa8", "#a9c6e6", "#b5402f", "#ecc3bb"
_BINS = 20
_HISTOGRAM_HEIGHT = 190


@dataclass(frozen=True)
class _Canvas:
    """A sheet in units of the finished picture."""

    draw: ImageDraw.ImageDraw

    def text(self, x: float, y: float, words: str, *, size: int = 17, colour: str = _INK, anchor: str = "lm") -> None:
        at = x * _SCALE, y * _SCALE
        self.draw.text(at, words, fill=colour, font=ImageFont.load_default(size * _SCALE), anchor=anchor)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: str, width: int = 1) -> None:
        points = [start[0] * _SCALE, start[1] * _SCALE, end[0] * _SCALE, end[1] * _SCALE]
        self.draw.line(points, fill=colour, width=width * _SCALE)

    def bar(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        box = [round(edge * _SCALE) for edge in (left, top, right, bottom)]
        if box[2] > box[0] and box[3] > box[1]:
            self.draw.rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill=colour)


@dataclass(frozen=True)
class _Axis:
    """Horizontal, from 0 to `limit`, between two x."""

    left: float
    right: float
    limit: float

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * min(value, self.limit) / self.limit


def draw(evaluation: Evaluation) -> Image.Image:
    """Panels that have nothing to show are left out."""
    height = _top() + max(_left_height(evaluation), _right_height(evaluation)) + _MARGIN
    image = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), _PAPER)
    canvas = _Canvas(ImageDraw.Draw(image))
    _draw_title(canvas, evaluation)
    _draw_left(canvas, evaluation)
    _draw_right(canvas, evaluation)
    return image.resize((_WIDTH, height), Image.Resampling.LANCZOS)


def _top() -> int:
    return _MARGIN + 92


def _left_height(evaluation: Evaluation) -> int:
    metrics = _HEADING + _ROW * len(evaluation.metrics) + 44
    errors = sum(_errors_height() for _ in evaluation.judgement)
    retrieval = _HEADING + 3 * _ROW * len(evaluation.retrieval) + 44 if evaluation.retrieval else 0
    return metrics + errors + retrieval


def _errors_height() -> int:
    return _HEADING + _ROW * len(ErrorType) + 84


def _right_height(evaluation: Evaluation) -> int:
    labels = _HEADING + _ROW * len(evaluation.label_f1) + 44 if evaluation.label_f1 else 0
    return _HEADING + _HISTOGRAM_HEIGHT + 64 + labels


def _draw_title(canvas: _Canvas, evaluation: Evaluation) -> None:
    canvas.text(_MARGIN, _MARGIN + 8, f"Evaluation of {evaluation.name}", size=32)
    facts = f"{evaluation.pairs:,} reports; line: value; band: 95 % bootstrap interval"
    missing = ", ".join(lack.metric for lack in evaluation.lacks)
    canvas.text(_MARGIN, _MARGIN + 48, facts + (f"; not measured: {missing}" if missing else ""), colour=_FAINT)
    canvas.line((_MARGIN, _MARGIN + 74), (_WIDTH - _MARGIN, _MARGIN + 74), _GRID, 2)


def _draw_left(canvas: _Canvas, evaluation: Evaluation) -> None:
    y = _draw_metrics(canvas, _MARGIN, _top(), evaluation.metrics)
    for judgement in evaluation.judgement:
        _draw_errors(canvas, _MARGIN, y, judgement)
        y += _errors_height()
    if evaluation.retrieval:
        heading = "Retrieval", "share found among the first k, %"
        _draw_bars(canvas, _MARGIN, y, heading, _recall_bars(evaluation.retrieval))


def _draw_right(canvas: _Canvas, evaluation: Evaluation) -> None:
    x = _MARGIN + _COLUMN + _GUTTER
    y = _draw_histogram(canvas, x, _top(), 100 * evaluation.rouge_l)
    if evaluation.label_f1:
        bars = [(name, 100 * f1) for name, f1 in evaluation.label_f1.items()]
        _draw_bars(canvas, x, y, ("F1 by label", "0 to 100"), bars)


def _heading(canvas: _Canvas, x: float, y: float, words: tuple[str, str]) -> float:
    canvas.text(x, y + 14, words[0], size=21)
    canvas.text(x + _COLUMN, y + 15, words[1], size=15, colour=_FAINT, anchor="rm")
    return y + _HEADING


def _draw_metrics(canvas: _Canvas, x: float, y: float, metrics: Sequence[Metric]) -> float:
    y = _heading(canvas, x, y, ("Metrics", "0 to 100, higher is better"))
    axis = _axis(x, _round_up(max(metric.estimate.high for metric in metrics)))
    bottom = y + _ROW * len(metrics)
    _draw_grid(canvas, axis, y, bottom)
    for row, metric in enumerate(metrics):
        middle, estimate = y + _ROW * (row + 0.5), metric.estimate
        canvas.text(x, middle, metric.name)
        canvas.bar(axis.x(estimate.low), middle - 9, axis.x(estimate.high), middle + 9, _PALE_BLUE)
        canvas.bar(axis.x(metric.shown) - 1.5, middle - 11, axis.x(metric.shown) + 1.5, middle + 11, _BLUE)
        canvas.text(x + _COLUMN, middle, f"{metric.shown:.1f}", anchor="rm")
    return bottom + 44


def _draw_errors(canvas: _Canvas, x: float, y: float, judgement: Judgement) -> None:
    y = _heading(canvas, x, y, ("CheXprompt", f"errors per 100 reports, by {judgement.model}"))
    counts = [[100 * by[kind] / judgement.rated for kind in ErrorType] for by in judgement.sums.values()]
    totals = [sum(pair) for pair in zip(*counts, strict=True)]
    axis = _axis(x, _round_up(max(totals)))
    bottom = y + _ROW * len(ErrorType)
    _draw_grid(canvas, axis, y, bottom)
    for row, (kind, significant, total) in enumerate(zip(ErrorType, counts[0], totals, strict=True)):
        middle = y + _ROW * (row + 0.5)
        canvas.text(x, middle, kind.replace("_", " "))
        canvas.bar(axis.x(0), middle - 9, axis.x(significant), middle + 9, _RED)
        canvas.bar(axis.x(significant), middle - 9, axis.x(total), middle + 9, _PALE_RED)
        canvas.text(x + _COLUMN, middle, f"{total:.0f}", anchor="rm")
    _draw_key(canvas, axis.left, bottom + 42)


def _draw_key(canvas: _Canvas, x: float, y: float) -> None:
    for colour, words, offset in ((_RED, "significant", 0), (_PALE_RED, "insignificant", 130)):
        canvas.bar(x + offset, y - 7, x + offset + 14, y + 7, colour)
        canvas.text(x + offset + 22, y, words, size=15, colour=_FAINT)


def _draw_bars(
    canvas: _Canvas, x: float, y: float, heading: tuple[str, str], bars: Sequence[tuple[str, float]]
) -> None:
    y = _heading(canvas, x, y, heading)
    axis = _axis(x, 100)
    bottom = y + _ROW * len(bars)
    _draw_grid(canvas, axis, y, bottom)
    for row, (name, value) in enumerate(bars):
        middle = y + _ROW * (row + 0.5)
        canvas.text(x, middle, name)
        canvas.bar(axis.x(0), middle - 9, axis.x(value), middle + 9, _BLUE)
        canvas.text(x + _COLUMN, middle, f"{value:.1f}", anchor="rm")


def _draw_histogram(canvas: _Canvas, x: float, y: float, scores: NDArray[np.float64]) -> float:
    y = _heading(canvas, x, y, ("ROUGE-L of each report", "number of reports"))
    counts, edges = np.histogram(scores, bins=_BINS, range=(0, 100))
    bottom, axis = y + _HISTOGRAM_HEIGHT, _Axis(x, x + _COLUMN - 14, 100)
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        top = bottom - (_HISTOGRAM_HEIGHT - 24) * count / counts.max()
        canvas.bar(axis.x(left) + 1, top, axis.x(right) - 1, bottom, _PALE_BLUE)
        if count:
            middle = (axis.x(left) + axis.x(right)) / 2
            canvas.text(middle, top - 10, f"{count}", size=13, colour=_FAINT, anchor="mm")
    canvas.line((axis.left, bottom), (axis.right, bottom), _FAINT)
    _draw_ticks(canvas, axis, bottom)
    return bottom + 64


def _recall_bars(retrieval: dict[str, Retrieval]) -> list[tuple[str, float]]:
    return [
        (f"{direction.replace('→', 'to')}, k = {depth}", 100 * share)
        for direction, found in retrieval.items()
        for depth, share in found.recall.items()
    ]


def _axis(x: float, limit: float) -> _Axis:
    return _Axis(x + _LABEL_WIDTH, x + _COLUMN - _VALUE_WIDTH, limit)


def _draw_grid(canvas: _Canvas, axis: _Axis, top: float, bottom: float) -> None:
    for tick in _ticks(axis):
        canvas.line((axis.x(tick), top), (axis.x(tick), bottom), _GRID)
    _draw_ticks(canvas, axis, bottom)


def _draw_ticks(canvas: _Canvas, axis: _Axis, y: float) -> None:
    for tick in _ticks(axis):
        canvas.text(axis.x(tick), y + 14, f"{tick:g}", size=14, colour=_FAINT, anchor="mm")


def _ticks(axis: _Axis) -> list[float]:
    return [axis.limit * step / 4 for step in range(5)]


def _round_up(value: float) -> float:
    """The next round number whose quarters are round too."""
    return next((limit for limit in (4, 8, 20, 40, 60, 80, 100, 200, 400) if value <= limit), float(np.ceil(value)))
