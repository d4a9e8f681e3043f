"""`dicom-node evaluate`: a table on the terminal, evaluation.json and evaluation.png in a folder."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dicom_node.errors import Permanent
from workers.evaluation import measure
from workers.evaluation.chexprompt import NOT_COMPARABLE
from workers.evaluation.completion import Endpoint
from workers.evaluation.judge import Judge, rate_all, storing
from workers.evaluation.picture import draw
from workers.evaluation.predictions import Pair, read_pairs
from workers.evaluation.results import Evaluation, Judgement, rows, to_json
from workers.evaluation.retrieval import Retrieval, read_embeddings, retrieve
from workers.evaluation.rouge import rouge_l
from workers.evaluation.scorers import Lack

JSON_NAME, PICTURE_NAME, RATINGS_NAME = "evaluation.json", "evaluation.png", "chexprompt.jsonl"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Asked:
    """What the caller wants besides the text metrics. Empty strings and tuples: not wanted."""

    embeddings: tuple[Path, ...] = ()
    judge: tuple[Judge, ...] = ()
    prices_usd: tuple[float, float] = (0.0, 0.0)  # of a million prompt and completion tokens


def run(
    predictions: Path,
    *,
    out: Path | None,
    embeddings: Path | None,
    judge_url: str | None,
    judge_model: str,
    judge_key_file: Path | None,
    judge_prices: tuple[float, float],
) -> None:
    """What the command line calls."""
    judge = () if judge_url is None else (make_judge(judge_url, judge_model, judge_key_file),)
    asked = Asked((embeddings,) if embeddings else (), judge, judge_prices)
    folder = out or predictions.with_name(f"{predictions.stem}-evaluation")
    evaluate(predictions, folder, asked, Console())


def evaluate(predictions: Path, folder: Path, asked: Asked, console: Console) -> Evaluation:
    """Measure, print and write. A run that was stopped goes on where it was if given the same folder.

    Raises StorageFull where the folder cannot be written.
    """
    pairs = read_pairs(predictions)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _progress(console) as progress:
        evaluation = _measure(predictions, pairs, asked, folder / RATINGS_NAME, progress)
    with storing(folder):
        _write(folder, evaluation)
    _print(console, evaluation, folder)
    return evaluation


def make_judge(url: str, model: str, key_file: Path | None) -> Judge:
    """The key comes from a file: on a command line every user of the machine could read it."""
    if not model:
        raise Permanent("--judge-url needs --judge-model: the name of the model at that address")
    try:
        key = key_file.read_text(encoding="utf-8").strip() if key_file else ""
    except OSError as error:
        raise Permanent(f"the judge's key file {key_file} cannot be read") from error
    return Judge(model, Endpoint(url, model, key))


def _measure(predictions: Path, pairs: Sequence[Pair], asked: Asked, kept: Path, progress: Progress) -> Evaluation:
    scores = np.array([rouge_l(p.reference, p.candidate) for p in _tracked(progress, pairs, "ROUGE-L")])
    labels, radgraph = measure.find_labels(pairs), measure.measure_radgraph(pairs)
    metrics = [measure.measure_rouge(scores), *measure.measure_bleu(pairs)]
    metrics += [] if isinstance(labels, Lack) else measure.measure_labels(labels)
    metrics += [] if isinstance(radgraph, Lack) else [radgraph]
    return Evaluation(
        name=predictions.name,
        sha256=hashlib.sha256(predictions.read_bytes()).hexdigest(),
        pairs=len(pairs),
        empty_candidates=sum(not pair.candidate.strip() for pair in pairs),
        metrics=tuple(metrics),
        rouge_l=scores,
        label_f1={} if isinstance(labels, Lack) else measure.f1_by_label(labels),
        lacks=tuple(each for each in (labels, radgraph) if isinstance(each, Lack)),
        judgement=tuple(_judge(judge, pairs, asked, kept, progress) for judge in asked.judge),
        retrieval={name: found for path in asked.embeddings for name, found in _retrieve(path, len(pairs))},
    )


def _judge(judge: Judge, pairs: Sequence[Pair], asked: Asked, kept: Path, progress: Progress) -> Judgement:
    ratings = list(progress.track(rate_all(judge, pairs, kept), total=len(pairs), description="CheXprompt"))
    if not any(rating.errors for rating in ratings):
        raise Permanent(f"the judge gave no usable answer to any pair: {ratings[0].reason}")
    return measure.judgement(judge.model, ratings, asked.prices_usd)


def _retrieve(path: Path, pairs: int) -> Iterable[tuple[str, Retrieval]]:
    image, text = read_embeddings(path)
    if len(image) != pairs:
        raise Permanent(f"{path.name} has {len(image)} rows, the predictions {pairs}")
    return ("image → report", retrieve(image, text)), ("report → image", retrieve(text, image))


def _write(folder: Path, evaluation: Evaluation) -> None:
    """Both files appear whole or not at all."""
    part = folder / f"{JSON_NAME}.part"
    part.write_text(json.dumps(to_json(evaluation), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / JSON_NAME)
    part = folder / f"{PICTURE_NAME}.part"
    draw(evaluation).save(part, format="PNG", optimize=True)
    part.replace(folder / PICTURE_NAME)


def _print(console: Console, evaluation: Evaluation, folder: Path) -> None:
    table = Table("metric", "value", "95 % interval", "how", title=f"{evaluation.name}: {evaluation.pairs} pairs")
    for row in rows(evaluation):
        table.add_row(*row)
    console.print(table)
    if evaluation.empty_candidates:
        console.print(f"{evaluation.empty_candidates} candidates are empty; they count 0.")
    for sentence in (*(lack.sentence for lack in evaluation.lacks), *([NOT_COMPARABLE] * len(evaluation.judgement))):
        console.print(sentence, markup=False, highlight=False)
    console.print(f"Wrote {folder / JSON_NAME} and {PICTURE_NAME}.", markup=False, highlight=False)


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True)


def _tracked(progress: Progress, items: Sequence[Item], what: str) -> Iterable[Item]:
    return progress.track(items, description=what)
