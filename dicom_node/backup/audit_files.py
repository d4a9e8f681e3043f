"""The audit trail's files, into a backup and out of it. They only grow, unless somebody moves one away."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from dicom_node.backup.objects import copy

_PIECE_BYTES = 1024 * 1024


def keep_audit(source: Path, target: Path) -> None:
    """Copy what has grown. Raises OSError.

    A file that was begun anew takes the place of none: what was moved away may be nowhere else.
    """
    for name in _names(source):
        with suppress(FileNotFoundError):  # moved away meanwhile
            _keep(source / name, target / name)


def bring_back_audit(source: Path, target: Path) -> None:
    """Copy what is not there. Raises OSError."""
    for name in _names(source):
        if not (target / name).exists():
            copy(source / name, target / name)


def _names(folder: Path) -> Iterator[Path]:
    """Below the folder, and of what somebody has put in order in folders of it. Nothing that was not copied whole."""
    return (file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and file.suffix != ".part")


def _keep(source: Path, target: Path) -> None:
    if target.exists():
        if target.stat().st_size == source.stat().st_size:
            return
        if not _begins_with(source, target):
            target.rename(_free_name(target))
    copy(source, target)


def _begins_with(file: Path, head: Path) -> bool:
    with file.open("rb") as longer, head.open("rb") as shorter:
        return all(longer.read(len(piece)) == piece for piece in iter(lambda: shorter.read(_PIECE_BYTES), b""))


def _free_name(taken: Path) -> Path:
    return next(free for number in count(1) if not (free := taken.with_name(f"{taken.name}.{number}")).exists())
