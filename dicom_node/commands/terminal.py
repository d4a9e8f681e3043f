"""What the commands share: the terminal, the rows, and options of one meaning."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from sqlmodel import Session

from dicom_node.config import Settings
from dicom_node.database import Sessions, opened_current

StudyNumber = Annotated[int, typer.Argument(help="The study's number in `dicom-node status`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]

T = TypeVar("T")


@contextmanager
def opened_rows(settings: Settings) -> Iterator[Sessions]:
    """The database while the command runs. Raises Permanent where the schema is not this program's."""
    with opened_current(settings) as engine:
        yield Sessions(engine)


def read_rows(read: Callable[[Session], T]) -> T:
    """What is read in one transaction, which has ended when it is shown: a reader of a pipe may take its time."""
    with opened_rows(Settings()) as sessions, sessions() as session:
        return read(session)


def say(sentence: str) -> None:
    """As it stands: no markup, no line broken where a script would look for it."""
    Console().print(sentence, markup=False, highlight=False, soft_wrap=True)


def show(table: object) -> None:
    Console().print(table)  # made now: as wide as the terminal is now


def print_json(found: object) -> None:
    print(json.dumps(found, indent=2, ensure_ascii=False))
