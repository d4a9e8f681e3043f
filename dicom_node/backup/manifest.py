"""What a backup holds, and whether that is still as it was written.

manifest.json        written last: without it there is no backup
state-<moment>/      rows, objects.jsonl (of each object its file, size and SHA-256), settings.json
instances/, audit/   files that never change their content, so every backup in the folder shares them
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path

from dicom_node.database import SCHEMA_REVISION
from dicom_node.errors import Permanent
from dicom_node.part_file import fsync_folder

NAME = "manifest.json"
OBJECTS = "objects.jsonl"
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """Of the newest backup in a folder."""

    made_at: str  # ISO 8601, UTC
    state: str  # folder of the rows
    database: str  # sqlite or postgresql
    schema: str  # its revision
    sha256: dict[str, str]  # of each file in `state`
    format: int = _FORMAT

    def write(self, folder: Path) -> None:
        """Make it the newest, at once or not at all. Raises OSError."""
        draft = folder / f"{NAME}.new"
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / NAME)
        fsync_folder(folder)


@dataclass(frozen=True)
class StoredObject:
    """A received object and how its file is recognised."""

    path: str  # below the instance folder
    size_bytes: int  # of the data set as received
    sha256: str  # of the same


def read_manifest(folder: Path) -> Manifest:
    """Raises Permanent if there is no backup, or none that this program can restore."""
    try:
        manifest = Manifest(**json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise Permanent(f"{folder} holds no whole backup: its {NAME} cannot be read") from error
    if manifest.format != _FORMAT or manifest.schema > SCHEMA_REVISION:
        words = f"the backup has schema {manifest.schema}, this program {SCHEMA_REVISION}: restore it with a newer one"
        raise Permanent(words)
    return manifest


def newest_state(folder: Path) -> str | None:
    """The folder of the rows of the newest backup, of whatever program; empty: there is none; None: nobody knows."""
    try:
        return str(json.loads((folder / NAME).read_text(encoding="utf-8"))["state"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, TypeError, KeyError):
        return None


def require_unchanged(folder: Path, manifest: Manifest) -> None:
    """Raises Permanent if a file of the rows is missing or is not what was written."""
    for name, digest in manifest.sha256.items():
        try:
            found = sha256_of(folder / manifest.state / name)
        except OSError as error:
            raise Permanent(f"the backup is damaged: {name} cannot be read") from error
        if found != digest:
            raise Permanent(f"the backup is damaged: {name} is not what was written")


def sha256_of(file: Path) -> str:
    with file.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()


def read_objects(state: Path) -> Iterator[StoredObject]:
    with (state / OBJECTS).open(encoding="utf-8") as lines:
        for line in lines:
            yield StoredObject(**json.loads(line))
