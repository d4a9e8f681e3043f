"""The stages' losses in one picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workers.training.files import whole_file
from workers.training.loop import LOSSES, read_losses
from workers.training.state import Row

CURVES = "curves.png"
_SMOOTHED_OVER = 20  # a stage's length is divided by this


def draw_curves(out: Path, stages: Sequence[str]) -> None:
    """One panel for each stage that has losses: every batch, their running mean, and the records held out."""
    losses = {name: read_losses(out / name / LOSSES) for name in stages if (out / name / LOSSES).exists()}
    figure = Figure(figsize=(5 * len(losses), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, rows) in enumerate(losses.items(), start=1):
        _draw(figure.add_subplot(1, len(losses), number), name, rows)
    with whole_file(out / CURVES) as part:
        figure.savefig(part, format="png", dpi=120)


def _draw(axes: Axes, name: str, rows: Sequence[Row]) -> None:
    steps, losses = [row.step for row in rows], [row.loss for row in rows]
    measured = [row for row in rows if row.held_out_loss == row.held_out_loss]
    axes.plot(steps, losses, color="#a9c6e6", linewidth=0.8, label="batch")
    axes.plot(steps, _running_mean(losses), color="#1f5fa8", linewidth=1.6, label="running mean")
    axes.plot(
        [row.step for row in measured],
        [row.held_out_loss for row in measured],
        color="#b5402f",
        marker="o",
        markersize=3,
        linewidth=1.2,
        label="held out",
    )
    axes.set(title=name, xlabel="step", ylabel="mean loss (nats)", xlim=(0, steps[-1]))
    axes.set_ylim(bottom=0)
    axes.grid(color="#e3e7ec")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _running_mean(values: Sequence[float]) -> list[float]:
    """Each value with those before it, over a fixed share of the stage."""
    width = max(1, len(values) // _SMOOTHED_OVER)
    windows = (values[max(0, end - width) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]
