"""The one training loop: every stage is an objective and a plan."""

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from dicom_node.errors import Permanent
from workers.training.files import whole_file
from workers.training.plan import Indices, Plan
from workers.training.state import Row, finish, is_done, restore_state, save_state

LOSSES = "losses.csv"


class Objective(nn.Module, ABC):
    """What a stage minimises. Its parameters that require a gradient are what it changes."""

    @abstractmethod
    def forward(self, indices: Indices) -> Tensor:
        """The sum of these records' losses: a scalar, float32."""

    @abstractmethod
    def weight(self, indices: Indices) -> float:
        """What that sum is divided by to be a mean. It adds up over records."""


@dataclass(frozen=True)
class Stage:
    """An objective and what to do with it. held_out: indices to measure on, which `plan` never draws."""

    name: str
    objective: Objective
    plan: Plan
    held_out: Indices
    folder: Path


def make_accelerator() -> Accelerator:
    """bfloat16 on a GPU, float32 on a CPU, where bfloat16 is many times slower; one process, or as many as launched."""
    return Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")


def train(stage: Stage, accelerator: Accelerator, progress: Progress) -> None:
    """Run the stage to its end, from where it was killed, or not at all if it is done.

    Every step reseeds the random numbers, so a step computes the same whether or not the run was interrupted before.
    """
    if is_done(stage.folder):
        return
    stage.folder.mkdir(parents=True, exist_ok=True)
    objective, settings = stage.objective, stage.plan.settings
    parameters = [each for each in objective.parameters() if each.requires_grad]
    adam = AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    module, optimizer = accelerator.prepare(objective, adam)
    rows = restore_state(stage.folder, objective, optimizer)
    bar = progress.add_task(stage.name, total=stage.plan.steps, completed=len(rows))
    for step in range(len(rows), stage.plan.steps):
        torch.manual_seed(_seed(stage.plan.seed, step, accelerator.process_index))
        loss = _step(stage, module, optimizer, accelerator, step)
        is_saved = (step + 1) % settings.save_steps == 0 or step + 1 == stage.plan.steps
        held_out = _measure(stage, module, accelerator) if is_saved else math.nan
        rows.append(Row(step + 1, loss, stage.plan.learning_rate(step), held_out))
        progress.update(bar, advance=1, description=f"{stage.name}: loss {loss:.3f}")
        if is_saved:  # before it takes the place of what was saved last
            _require_number(held_out, f"{stage.name}: the loss of what is held out, after step {step + 1},")
        if is_saved and accelerator.is_main_process:
            progress.console.print(f"{stage.name} {step + 1}/{stage.plan.steps}: {loss:.3f}, held out {held_out:.3f}")
            _write_losses(stage.folder / LOSSES, rows)
            save_state(stage.folder, objective, optimizer, rows)
    if accelerator.is_main_process:
        finish(stage.folder, objective)
    accelerator.wait_for_everyone()


def read_losses(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(int(each["step"]), *(float(each[name]) for name in ("loss", "learning_rate", "held_out_loss")))
            for each in csv.DictReader(file)
        ]


def _step(stage: Stage, module: nn.Module, optimizer: Optimizer, accelerator: Accelerator, step: int) -> float:
    """One change of the weights. Returns the batch's mean loss."""
    batch = stage.plan.batch(step)
    module.train()
    total = 0.0
    parts = list(_parts(batch, stage.plan.settings.at_once, accelerator))
    for number, part in enumerate(parts, start=1):
        # Gradients of several devices are averaged once, with the last part.
        with nullcontext() if number == len(parts) else accelerator.no_sync(module):
            loss = module(part) / stage.objective.weight(batch)
            accelerator.backward(loss * accelerator.num_processes)
            total += loss.item()
    mean = _sum(total, accelerator)
    _require_number(mean, f"{stage.name}: the loss of step {step + 1}")
    norm = accelerator.clip_grad_norm_(module.parameters(), stage.plan.settings.clip_norm)
    _require_number(float(norm), f"{stage.name}: the gradient of step {step + 1}")
    for group in optimizer.param_groups:
        group["lr"] = stage.plan.learning_rate(step)
    optimizer.step()
    optimizer.zero_grad()
    return mean


@torch.no_grad()
def _measure(stage: Stage, module: nn.Module, accelerator: Accelerator) -> float:
    """Mean loss of the records held out."""
    module.eval()
    size = stage.plan.settings.batch
    batches = [stage.held_out[start : start + size] for start in range(0, len(stage.held_out), size)]
    parts = [part for batch in batches for part in _parts(batch, stage.plan.settings.at_once, accelerator)]
    total = _sum(sum(module(part).item() for part in parts), accelerator)
    return total / stage.objective.weight(stage.held_out)


def _require_number(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise Permanent(f"{what} is {value}: lower the learning rate")


def _parts(batch: Indices, at_once: int, accelerator: Accelerator) -> Iterator[Indices]:
    """This process's share of the batch, in pieces that fit its device."""
    share = batch[accelerator.process_index :: accelerator.num_processes]
    return (share[start : start + at_once] for start in range(0, len(share), at_once))


def _sum(value: float, accelerator: Accelerator) -> float:
    """Over all processes."""
    total: Tensor = accelerator.reduce(torch.tensor(value, dtype=torch.float64, device=accelerator.device))
    return float(total)


def _seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0])


def _write_losses(path: Path, rows: list[Row]) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Row.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
