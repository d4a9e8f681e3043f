"""The loop: what each step draws, and that a killed run ends as one that was never killed."""

import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator, debug_launcher
from accelerate.state import AcceleratorState
from rich.progress import Progress
from torch import Tensor, nn

from dicom_node.errors import Permanent
from workers.training.curves import CURVES, draw_curves
from workers.training.loop import LOSSES, Objective, Stage, read_losses, train
from workers.training.plan import Indices, Plan
from workers.training.preset import StageSettings
from workers.training.state import is_done, read_weights

SETTINGS = StageSettings(epochs=3, batch=8, at_once=8, learning_rate=1e-2, warm_up=0.1, save_steps=4)
RECORDS, HELD_OUT = 40, 8


class Line(Objective):
    """Learns a straight line through dropout; kills its process before one step if told to."""

    def __init__(self, kill_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.3)
        self._x = torch.randn(RECORDS + HELD_OUT, 4)
        self._steps = 0
        self._kill_at = kill_at

    def forward(self, indices: Indices) -> Tensor:
        self._steps += self.training
        if self._steps == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x = self._x[indices]
        loss: Tensor = ((self.line(self.dropout(x)) - x.sum(dim=1, keepdim=True)) ** 2).sum()
        return loss

    def weight(self, indices: Indices) -> float:
        return float(len(indices))


class Root(Line):
    """A line whose loss of one step is a number and whose gradient is none."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def forward(self, indices: Indices) -> Tensor:
        loss = super().forward(indices)
        return loss + (0 * self.line.weight.sum()).sqrt() if self.training and self._steps == self._at else loss


def _stage(folder: Path, objective: Objective, settings: StageSettings = SETTINGS) -> Stage:
    plan = Plan(RECORDS, settings, seed=3)
    return Stage("line", objective, plan, np.arange(RECORDS, RECORDS + HELD_OUT), folder)


def _steady(folder: Path, *, at_once: int = 8) -> Stage:
    """Without dropout, which differs between pieces and processes."""
    objective = Line()
    objective.dropout = nn.Dropout(0.0)
    return _stage(folder, objective, SETTINGS.model_copy(update={"at_once": at_once}))


def _train(stage: Stage) -> None:
    train(stage, Accelerator(cpu=True), Progress(disable=True))


def _train_afresh(folder: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # the forked process inherits that it is the only one
    (folder.parent / f"process-{Accelerator(cpu=True).process_index}").touch()
    _train(_steady(folder))


def test_each_epoch_draws_every_record_once_in_an_order_of_its_own() -> None:
    plan = Plan(RECORDS, SETTINGS, seed=3)
    epochs = [np.concatenate([plan.batch(5 * epoch + step) for step in range(5)]) for epoch in range(3)]

    assert plan.steps == 15
    assert all(sorted(epoch) == list(range(RECORDS)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert np.array_equal(plan.batch(7), Plan(RECORDS, SETTINGS, seed=3).batch(7))
    assert not np.array_equal(plan.batch(7), Plan(RECORDS, SETTINGS, seed=4).batch(7))


def test_the_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    plan = Plan(800, SETTINGS.model_copy(update={"epochs": 1}), seed=0)  # 100 steps, 10 of them warm-up

    assert [plan.learning_rate(step) for step in (0, 5, 10)] == pytest.approx([0, 5e-3, 1e-2])
    assert plan.learning_rate(55) == pytest.approx(5e-3)
    assert plan.learning_rate(99) == pytest.approx(1e-2 * (1 + math.cos(math.pi * 89 / 90)) / 2)


def test_fewer_records_than_a_batch_are_refused() -> None:
    with pytest.raises(Permanent, match="7 records are fewer than one batch of 8"):
        Plan(7, SETTINGS, seed=0)


@pytest.mark.parametrize("kill_at", [3, 6, 9])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path, kill_at: int) -> None:
    _train(_stage(tmp_path / "whole", Line()))
    killed = multiprocessing.get_context("fork").Process(
        target=_train, args=(_stage(tmp_path / "killed", Line(kill_at)),)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not is_done(tmp_path / "killed")

    _train(_stage(tmp_path / "killed", Line()))

    assert (tmp_path / "killed" / LOSSES).read_text() == (tmp_path / "whole" / LOSSES).read_text()
    whole, resumed = (read_weights(tmp_path / name, "") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_stage_that_is_done_is_left_as_it_is(tmp_path: Path) -> None:
    _train(_stage(tmp_path, Line()))
    losses = (tmp_path / LOSSES).stat().st_mtime_ns

    _train(_stage(tmp_path, Line(kill_at=1)))

    assert (tmp_path / LOSSES).stat().st_mtime_ns == losses
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOSSES, "weights.safetensors"]


def test_a_batch_in_pieces_teaches_what_a_whole_one_does(tmp_path: Path) -> None:
    _train(_steady(tmp_path / "whole"))
    _train(_steady(tmp_path / "pieces", at_once=3))

    whole, pieces = (read_losses(tmp_path / name / LOSSES) for name in ("whole", "pieces"))
    assert [row.loss for row in pieces] == pytest.approx([row.loss for row in whole], rel=1e-5)


def test_two_processes_learn_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else accelerate chooses, and warns
    _train(_steady(tmp_path / "one"))

    debug_launcher(_train_afresh, args=(tmp_path / "two",), num_processes=2)

    assert {path.name for path in tmp_path.glob("process-*")} == {"process-0", "process-1"}
    one, two = (read_losses(tmp_path / name / LOSSES) for name in ("one", "two"))
    assert [row.loss for row in two] == pytest.approx([row.loss for row in one], rel=1e-5)
    assert two[-1].held_out_loss == pytest.approx(one[-1].held_out_loss, rel=1e-5)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    stage = _stage(tmp_path, Line())
    assert isinstance(stage.objective, Line)
    stage.objective._x[:] = math.inf

    with pytest.raises(Permanent, match="line: the loss of step 1 is"):
        _train(stage)


@pytest.mark.parametrize("at", [8, 15])  # where it saves, and where it ends
def test_weights_that_are_no_numbers_take_the_place_of_none(tmp_path: Path, at: int) -> None:
    with pytest.raises(Permanent, match=f"line: the gradient of step {at} is nan"):
        _train(_stage(tmp_path, Root(at)))

    _train(_stage(tmp_path, Line()))
    assert all(bool(torch.isfinite(each).all()) for each in read_weights(tmp_path, "").values())


def test_a_held_out_loss_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    stage = _stage(tmp_path, Line())
    assert isinstance(stage.objective, Line)
    stage.objective._x[RECORDS:] = math.inf

    with pytest.raises(Permanent, match="held out, after step 4, is"):
        _train(stage)
    assert list(tmp_path.iterdir()) == []


def test_losses_and_curves_are_kept(tmp_path: Path) -> None:
    _train(_stage(tmp_path / "line", Line()))

    rows = read_losses(tmp_path / "line" / LOSSES)
    draw_curves(tmp_path, ["absent", "line"])

    assert [row.step for row in rows] == list(range(1, 16))
    assert [row.step for row in rows if not math.isnan(row.held_out_loss)] == [4, 8, 12, 15]
    assert rows[-1].held_out_loss < rows[3].held_out_loss
    assert (tmp_path / CURVES).read_bytes().startswith(b"\x89PNG")
