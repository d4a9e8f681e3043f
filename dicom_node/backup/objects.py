"""Files from one folder to another; of received objects as a second name of the same file where that can be."""

import os
import shutil
from pathlib import Path


def keep(source: Path, target: Path) -> bool:
    """Have the file there too; False: it was there. Raises FileNotFoundError if there is none, or OSError.

    It never changes its content, so both may be the same file of the disk. Names are durable after `os.sync`.
    """
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one that knows no second names
        copy(source, target)
    return True


def copy(source: Path, target: Path) -> None:
    """Under its name only when all of it is there; with its mode, which of an object says that it is finished.

    Raises FileNotFoundError if there is none, or OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)  # of a backup that was cut short: its mode may forbid writing
    shutil.copyfile(source, part)
    with part.open("r+b") as written:
        os.fsync(written.fileno())
    shutil.copymode(source, part)
    part.replace(target)
