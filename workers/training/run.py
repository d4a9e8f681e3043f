"""`python -m workers.training.run`: from annotated films to a model folder, stage by stage."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import transformers
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dicom_node.errors import NodeError, Permanent
from workers.training.contrastive import PairLoss
from workers.training.curves import draw_curves
from workers.training.export import Trained, write_model
from workers.training.files import write_text
from workers.training.loop import make_accelerator, train
from workers.training.preset import read_preset
from workers.training.recipe import Recipe, StageName
from workers.training.records import read_records
from workers.training.sources import Sources
from workers.training.stages import build_stage
from workers.training.state import is_done, read_weights

MODEL = "model"


def run(recipe: Recipe, stages: Sequence[StageName]) -> None:
    """Each of these stages that is not done yet, then the curves, then the model folder if every stage is done.

    A stage that was killed goes on where it last saved. Raises Permanent if it was begun with other data or settings.
    """
    for name in stages:
        with recipe.accelerator.main_process_first():
            _claim(recipe, name)
        if not is_done(recipe.folder(name)):
            _train(recipe, name)
    if recipe.accelerator.is_main_process:
        draw_curves(recipe.out, list(StageName))
        if is_done(recipe.folder(StageName.TUNING)) and not (recipe.out / MODEL).exists():
            export(recipe, recipe.out / MODEL)


def export(recipe: Recipe, dest: Path) -> None:
    """Write the model folder."""
    tuned, lora = recipe.folder(StageName.TUNING), recipe.preset.lora
    adapter = {name.replace(".default.", "."): each for name, each in read_weights(tuned, "language.").items()}
    trained = Trained(
        tower=dict(recipe.tower().state_dict()),
        projector=read_weights(tuned, "pictures.projector."),
        language=dict(recipe.language().state_dict()),
        adapter=adapter,
        scale=lora.alpha / lora.rank,
    )
    write_model(dest, recipe.config, recipe.tokenizer.to_str(pretty=True), trained)


def main(
    dataset: Annotated[
        Path, typer.Argument(help="The annotations, a JSON list of records, or a folder with records.json.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of this run; the same command goes on where it was stopped.")],
    preset: Annotated[str, typer.Option(help="llava-rad, phantom, or a JSON file of the same fields.")],
    stage: Annotated[
        list[StageName] | None, typer.Option(help="Only this stage; may be repeated. Default: all.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="What image paths are relative to; default: the annotations' folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N usable records.")] = None,
    language: Annotated[Path | None, typer.Option(help="Folder of Vicuna-7B v1.5.")] = None,
    text_encoder: Annotated[Path | None, typer.Option(help="Folder of PubMedBERT.")] = None,
    tower: Annotated[Path | None, typer.Option(help="Folder of DINOv2 to begin the contrastive stage with.")] = None,
) -> None:
    """Train a model of LLaVA-Rad's architecture by its recipe."""
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # theirs has no types
    accelerator = make_accelerator()
    console = Console(quiet=not accelerator.is_main_process)
    try:
        chosen = read_preset(preset)
        records = read_records(dataset / "records.json" if dataset.is_dir() else dataset, images=images)[:limit]
        out.mkdir(parents=True, exist_ok=True)
        with _progress(console) as progress:
            sources = Sources(language, text_encoder, tower)
            recipe = Recipe(chosen, sources, records, out, accelerator, progress)
            run(recipe, stage or recipe.stages)
    except (NodeError, OSError) as error:
        console.print(f"Stopped: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error
    console.print(f"Done: {out}", markup=False, highlight=False)


def _train(recipe: Recipe, name: StageName) -> None:
    stage = build_stage(recipe, name)
    train(stage, recipe.accelerator, recipe.progress)
    if isinstance(stage.objective, PairLoss):
        by_image, by_text = stage.objective.recall_at_1(stage.held_out)
        recipe.progress.console.print(
            f"recall at 1 of {len(stage.held_out)} films: {by_image:.1%}, of texts {by_text:.1%}"
        )


def _claim(recipe: Recipe, name: StageName) -> None:
    """Write down what the stage is made of, or compare with what is written."""
    path = recipe.folder(name) / "stage.json"
    facts = json.dumps(recipe.facts(name), indent=1) + "\n"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_text(path, facts)
    elif path.read_text(encoding="utf-8") != facts:
        raise Permanent(
            f"{path.parent} was begun with other data, settings or earlier stages: delete it to begin again"
        )


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)


if __name__ == "__main__":
    typer.run(main)
