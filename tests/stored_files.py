"""What lies in a folder of instances; a receiver may be at work in it meanwhile."""

from contextlib import suppress
from os import stat_result
from pathlib import Path


def whole_files(root: Path) -> list[str]:
    """As rows name them."""
    return sorted(str(file.relative_to(root)) for file, its in _files(root) if not _is_writable(its))


def unfinished_files(root: Path) -> list[Path]:
    """Begun and not finished; the empty ones that wait for use are left out."""
    return [file for file, its in _files(root) if _is_writable(its) and its.st_size]


def _files(root: Path) -> list[tuple[Path, stat_result]]:
    """Those that were still there when they were looked at."""
    found = []
    for file in root.glob("??/*"):
        with suppress(FileNotFoundError):
            found.append((file, file.stat()))
    return found


def _is_writable(its: stat_result) -> bool:
    return bool(its.st_mode & 0o200)
