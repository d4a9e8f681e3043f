"""The paper's preparation of reports by a chat model: structure one, write one from labels, translate one.

Nothing calls this but `python -m workers.training.preparation`. Every text goes to whoever runs the endpoint: use one
that may read it. The paper used GPT-4 and did not publish its prompts; those here are our own.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.errors import NodeError, PeerRejected, Permanent, Transient
from dicom_node.sentences import find_sentences
from workers.evaluation.completion import PARALLEL, WAITS_S, Complete, Endpoint

_MAX_TOKENS = 1_024
_WORD = re.compile(r"\S+")
_SECTIONS = ("reason", "findings", "impression")
_STRUCTURE = (
    "You sort the text of chest radiograph reports into sections. Answer with one JSON object with the keys reason "
    "(the reason for the examination or indication), findings and impression, and nothing else. Copy the words of the "
    "report exactly; never add, change, summarise or translate any. A section that the report lacks is an empty string."
)
_SYNTHESISE = (
    "You write the findings section of chest radiograph reports. You are given labels; describe all of them, and "
    "nothing else that is abnormal, in a radiologist's short sentences. Give no measurement, date or comparison with "
    "an earlier examination. Answer with the section's text only."
)
_TRANSLATE = (
    "You translate chest radiograph reports into English, in the words a radiologist would use. Translate every "
    "statement; add, explain and leave out nothing. Answer with the translation only."
)


class Task(StrEnum):
    """What is done with each line of the input."""

    STRUCTURE = "structure"
    SYNTHESISE = "synthesise"
    TRANSLATE = "translate"


Entry = dict[str, object]


def structure_report(complete: Complete, report: str) -> dict[str, str]:
    """The reason, findings and impression of a free-text report; a section it lacks is empty.

    Raises Permanent if the answer is no such object, or says what the report does not say.
    """
    answer = _ask(complete, _STRUCTURE, report).removeprefix("```json").removesuffix("```")
    try:
        sections = {name: str(json.loads(answer)[name]).strip() for name in _SECTIONS}
    except (ValueError, KeyError, TypeError) as error:
        raise Permanent("the answer is no JSON object of reason, findings and impression") from error
    for name, text in sections.items():
        if not _says(report, text):
            raise Permanent(f"the answer's {name} is not in the report's own words")
    return sections


def synthesise_report(complete: Complete, labels: Sequence[str]) -> str:
    """Findings that say these labels, such as "pleural effusion: present". Raises Permanent if the answer is empty."""
    return _ask(complete, _SYNTHESISE, "\n".join(labels))


def translate_report(complete: Complete, report: str) -> str:
    """The report in English. Raises Permanent if the answer is empty."""
    return _ask(complete, _TRANSLATE, report)


def prepare(complete: Complete, task: Task, entry: Entry) -> Entry:
    """One line of the output. entry: id, and report or (to synthesise) labels."""
    if task is Task.SYNTHESISE:
        labels = entry.get("labels")
        if not isinstance(labels, list):
            raise Permanent("expected a list `labels`")
        return {"id": entry["id"], "findings": synthesise_report(complete, [str(label) for label in labels])}
    report = entry.get("report")
    if not isinstance(report, str):
        raise Permanent("expected a text `report`")
    if task is Task.TRANSLATE:
        return {"id": entry["id"], "report": translate_report(complete, report)}
    return {"id": entry["id"], **structure_report(complete, report)}


def prepare_all(
    complete: Complete, task: Task, source: Path, dest: Path, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Prepare every line of `source` that `dest` lacks, and append it there. Yields why a line was left out.

    Raises Transient if the endpoint stays away; the same call goes on from there.
    """
    entries = _read(source)
    known = {entry["id"] for entry in _read_kept(dest)}
    rest = [entry for entry in entries if entry["id"] not in known]
    with ThreadPoolExecutor(PARALLEL) as pool, dest.open("a", encoding="utf-8") as file:
        for entry, made in zip(rest, pool.map(partial(_try, complete, task, sleep), rest), strict=True):
            if isinstance(made, Permanent):
                yield f"{entry['id']}: {made}"
            else:
                file.write(json.dumps(made, ensure_ascii=False) + "\n")
                file.flush()


def main(
    task: Annotated[Task, typer.Argument(help="What to do with each line.")],
    source: Annotated[Path, typer.Argument(help="JSON lines of id and report, or of id and labels.")],
    dest: Annotated[Path, typer.Argument(help="JSON lines to write; what is in it already is not asked again.")],
    url: Annotated[str, typer.Option(help="OpenAI-compatible endpoint, without /chat/completions.")],
    model: Annotated[str, typer.Option(help="The model's name there.")],
    key_file: Annotated[Path | None, typer.Option(help="File that holds the key.")] = None,
) -> None:
    """Send reports or labels to a chat model and keep what it makes of them."""
    try:
        key = key_file.read_text(encoding="utf-8").strip() if key_file else ""
        for reason in prepare_all(Endpoint(url, model, key, _MAX_TOKENS), task, source, dest):
            typer.echo(f"left out: {reason}", err=True)
    except (NodeError, OSError) as error:
        typer.echo(f"Stopped: {error}", err=True)
        raise typer.Exit(1) from error


def _ask(complete: Complete, system: str, text: str) -> str:
    answer = complete([{"role": "system", "content": system}, {"role": "user", "content": text}]).text.strip()
    if not answer:
        raise Permanent("the answer is empty")
    return answer


def _says(report: str, section: str) -> bool:
    """Every sentence of the section is one of the report, give or take space, case and the signs around it.

    A part of a sentence is none: "effusion" is not what "no effusion" says.
    """
    words = [_plain(found.group()) for found in _WORD.finditer(report)]
    begins, ends = _borders(report)
    text = " ".join(section.split())
    sentences = ([_plain(word) for word in text[start:end].split()] for start, end in find_sentences(text))
    return all(
        any(words[first : first + len(said)] == said and first + len(said) in ends for first in begins)
        for said in sentences
    )


def _borders(report: str) -> tuple[set[int], set[int]]:
    """Of the words of the report, before which a sentence may begin, and before which one may have ended."""
    found = list(_WORD.finditer(report))
    begins, ends = {0}, {len(found)}
    for number, (word, following) in enumerate(pairwise(found), start=1):
        is_new_line = "\n" in report[word.end() : following.start()] and not following.group()[0].islower()
        if is_new_line or word.group().endswith((".", "!", "?", ";")):
            ends.add(number)
        if number in ends or word.group().endswith(":") or not _plain(word.group()):
            begins.add(number)
    return begins, ends


def _plain(word: str) -> str:
    return word.casefold().strip(".,;:!?*-•")


def _try(complete: Complete, task: Task, sleep: Callable[[float], None], entry: Entry) -> Entry | Permanent:
    """What was made of the entry, or why nothing could be. Raises Transient after the last wait."""
    for wait_s in WAITS_S:
        try:
            return prepare(complete, task, entry)
        except Transient:
            sleep(wait_s)
        except PeerRejected:
            raise
        except Permanent as error:
            return error
    return prepare(complete, task, entry)


def _read(path: Path) -> list[Entry]:
    """Raises Permanent naming the first line that is no JSON object with an id."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # no other line ends: a text may hold U+2028
    except UnicodeDecodeError as error:
        raise Permanent(f"{path} cannot be read as a UTF-8 file") from error
    return list(_entries(line for line in lines if line.strip()))


def _read_kept(path: Path) -> list[Entry]:
    """What a run before has written, without the half line that a killed one leaves."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")
    with path.open("r+b") as file:
        file.truncate(len(whole[0]) + len(whole[1]))
    return _read(path)


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Permanent(f"line {number} is not JSON") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str | int):
            raise Permanent(f"line {number} is not a JSON object with an id, a text or a number")
        yield entry


if __name__ == "__main__":
    typer.run(main)
