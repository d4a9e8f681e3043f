"""Markdown of values. Whatever a setting holds stays within its cell."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel

from dicom_node.peers import Tls

NONE = "–"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join([_row(heads), "|" + "---|" * len(heads), *map(_row, rows)])


def words_of(value: object) -> str:
    """A setting's value, in the words of its description. Of names with secrets (`stow_clients`) the names alone."""
    if isinstance(value, bool | Tls):
        return "yes" if value else "no"
    if isinstance(value, BaseModel):
        return "; ".join(f"{name} {words_of(each)}" for name, each in value)
    if isinstance(value, tuple | Mapping):
        return ", ".join(map(words_of, value)) or "empty"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """With a comma between thousands, and without a fraction that says nothing."""
    return f"{value:,.15g}"


def binary(size_bytes: int) -> str:
    """In the largest unit of IEC 80000-13 of which it is a multiple."""
    units = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
    return next(
        (f"{size_bytes // factor} {unit}" for factor, unit in units if size_bytes % factor == 0), f"{size_bytes} bytes"
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
