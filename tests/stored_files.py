"""What lies in a folder of instances."""

from pathlib import Path


def whole_files(root: Path) -> list[str]:
    """As rows name them."""
    return sorted(str(each.relative_to(root)) for each in root.glob("??/*") if not _is_writable(each))


def unfinished_files(root: Path) -> list[Path]:
    """Begun and not finished; the empty ones that wait for use are left out."""
    return [each for each in root.glob("??/*") if _is_writable(each) and each.stat().st_size]


def _is_writable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o200)
