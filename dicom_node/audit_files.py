"""The files of the audit trail as a queue: what comes after a place in them, in order."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_NAME = re.compile(r"audit-(\d{4}-\d\d-\d\d)\.log")
_MOST_BYTES = 256 * 1024  # at once, and the rest of a line
_LATE = timedelta(minutes=5)  # after midnight, the last messages of a day are written by then


@dataclass(frozen=True)
class Place:
    """So far, a reader has come."""

    file: str = ""  # its name; empty: the reader has not begun
    inode: int = 0  # tells the file from another of its name: who moves one away gets a new one
    offset: int = 0  # bytes


def read_on(folder: Path, place: Place, now: datetime) -> tuple[list[bytes], Place]:
    """The next messages, and the place after them; no messages if everything was read.

    Files before that of the place are done with; one that was replaced is read from its start. Raises OSError.
    """
    place = _in_time(place, now)
    for path in _files(folder, place, now):
        messages, after = _read_file(path, place)
        if messages:
            return messages, after
    return [], place


def _in_time(place: Place, now: datetime) -> Place:
    """The start of today, where a clock that was ahead has led to a day that is still to come."""
    today = f"audit-{now:%Y-%m-%d}.log"
    return place if place.file <= today else Place(today)


def _files(folder: Path, place: Place, now: datetime) -> Iterator[Path]:
    for path in sorted(folder.glob("audit-*.log")):
        found = _NAME.fullmatch(path.name)
        if found is None or path.name < place.file:
            continue
        begins = datetime.fromisoformat(found.group(1)).replace(tzinfo=UTC)
        if path.name == place.file or now >= begins + _LATE:
            yield path


def _read_file(path: Path, place: Place) -> tuple[list[bytes], Place]:
    try:
        file = path.open("rb")
    except FileNotFoundError:  # moved away meanwhile
        return [], place
    with file:
        status = os.fstat(file.fileno())
        is_same = (path.name, status.st_ino) == (place.file, place.inode) and status.st_size >= place.offset
        start = place.offset if is_same else 0
        file.seek(start)
        read = file.read(_MOST_BYTES) + file.readline()
    whole = read[: read.rfind(b"\n") + 1]  # the last line may still be being written
    return [line for line in whole.split(b"\n") if line], Place(path.name, status.st_ino, start + len(whole))
