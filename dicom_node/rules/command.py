"""`dicom-node rules`: is the file good, and which rule would take a film?"""

import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from dicom_node.commands.terminal import AsJson, print_json, say, show
from dicom_node.config import Settings
from dicom_node.errors import BadRules, Permanent

if TYPE_CHECKING:
    from dicom_node.rules.rule_file import Rules
    from dicom_node.rules.verdict import Explanation

app = typer.Typer(no_args_is_help=True, help="Which studies are read, how urgently and for whom.")

_EXPLAIN_FILE = "workers.explaining:explain_file"  # the core knows the arms by their names only


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="A file; by default that of `rules_file`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a file of rules is good, and what it says. Nothing is changed by that."""
    rules = _rules(Settings(), file)
    if as_json:
        print_json([{"rule": rule.name, "takes": rule.conditions, "and_then": rule.effect} for rule in rules])
        return
    table = Table("rule", "takes", "and then")
    for rule in rules:
        table.add_row(*(Text(words) for words in (rule.name, rule.conditions, rule.effect)))
    show(table)
    say("Asked from the first to the last. What none takes is read as without rules.")


@app.command("test")
def ask(
    film: Annotated[Path, typer.Argument(help="A DICOM file.")],
    calling_ae: Annotated[str, typer.Option(help="The AE title that sends it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say which rule of `rules_file` would take a film, and why those before it would not."""
    settings = Settings()
    rules = _rules(settings, None)
    explain = cast("Callable[..., Explanation]", pkgutil.resolve_name(_EXPLAIN_FILE))
    try:
        explanation = explain(film, calling_ae=calling_ae, settings=settings, rules=rules)
    except OSError as error:
        raise Permanent(f"{film} cannot be read: {error.strerror}") from error
    if as_json:
        print_json(_as_json(explanation))
        return
    for line in _lines(explanation):
        say(line)


def _rules(settings: Settings, file: Path | None) -> "Rules":
    from dicom_node.rules.rule_file import read_rules  # and pydicom, which other commands need not wait for

    path = file or settings.rules_file
    if path is None:
        raise BadRules("rules_file is not set, and no file was named: all that can be read is, for all destinations")
    return read_rules(path, settings.destination_names)


def _as_json(explanation: "Explanation") -> dict[str, object]:
    asked = explanation.verdict.asked if explanation.verdict else ()
    taker = explanation.verdict.rule if explanation.verdict else None
    return {
        "refusal": explanation.refusal,
        "asked": [{"rule": each.rule.name, "why_not": each.miss} for each in asked],
        "rule": taker.name if taker else None,
        "and_then": explanation.verdict.words if explanation.verdict else "",
    }


def _lines(explanation: "Explanation") -> Iterator[str]:
    if explanation.verdict is None:
        yield f"It is not read, whatever the rules say: {explanation.refusal}."
        return
    for asked in explanation.verdict.asked:
        yield f"{asked.rule.name}: {f'no, {asked.miss}' if asked.miss else f'yes, {asked.rule.conditions}'}"
    yield f"So {explanation.verdict.words}."
