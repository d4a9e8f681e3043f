"""Commands about the model: where its files come from, how good and how fast it is. The core knows it by names only."""

import pkgutil
import signal
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.terminal import AsJson, print_json, say
from dicom_node.config import Settings
from dicom_node.terms import require_acceptance

app = typer.Typer(no_args_is_help=True, help="Model files.")


@app.command()
def download(dest: Annotated[Path, typer.Argument(help="The folder to fill; needs 16 GB.")]) -> None:
    """Fetch the published files of LLaVA-Rad and Vicuna from the Hugging Face hub; go on where it ended if cut off."""
    require_acceptance(Settings())
    pkgutil.resolve_name("workers.llavarad.download:download_published")(dest)
    say(f"Downloaded to {dest}. Next: dicom-node model import {dest} FOLDER")


@app.command("import")
def import_model(
    src: Annotated[Path, typer.Argument(help="The folder with llava-rad/ and vicuna-7b-v1.5/ as published.")],
    dest: Annotated[Path, typer.Argument(help="The model folder to make; needs 14 GB.")],
) -> None:
    """Make a model folder of the published files: checked, merged, without pickles."""
    require_acceptance(Settings())
    # So that a stop, too, leaves nothing half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pkgutil.resolve_name("workers.llavarad.published:import_published")(src, dest, say=say)
    say(f"Wrote {dest}: set model_dir to it.")


def benchmark(
    times: Annotated[int, typer.Option(min=1, help="Drafts to measure, after one that warms up.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Draft a synthetic film again and again with this node's model on this machine, and say how long it takes."""
    found = pkgutil.resolve_name("workers.benchmark:measure")(Settings(), times)
    if as_json:
        print_json(found.as_json())
        return
    for sentence in found.sentences:
        say(sentence)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="JSONL: id, reference and candidate on every line.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the results; by default beside the file.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="NPZ with `image` and `text`: measure retrieval.")] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(help="Rate by CheXprompt at this OpenAI-compatible address. ALL TEXTS ARE SENT THERE."),
    ] = None,
    judge_model: Annotated[str, typer.Option(help="The model's name at that address.")] = "",
    judge_key_file: Annotated[Path | None, typer.Option(help="A file that holds the address's API key.")] = None,
    judge_prices: Annotated[
        tuple[float, float], typer.Option(help="USD for a million prompt tokens and a million completion tokens.")
    ] = (0.0, 0.0),
) -> None:
    """Measure drafts against radiologists' reports: ROUGE-L, BLEU, label F1, RadGraph, CheXprompt, retrieval."""
    pkgutil.resolve_name("workers.evaluation.run:run")(
        predictions,
        out=out,
        embeddings=embeddings,
        judge_url=judge_url,
        judge_model=judge_model,
        judge_key_file=judge_key_file,
        judge_prices=judge_prices,
    )
