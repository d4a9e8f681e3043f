"""`dicom-node backup`: rows first, then their files, then the manifest, beside a node that runs or not."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import col, select

from dicom_node.backup.audit_files import keep_audit
from dicom_node.backup.manifest import NAME, OBJECTS, Manifest, StoredObject, newest_state, sha256_of
from dicom_node.backup.objects import keep
from dicom_node.backup.rows import dump, stored_objects
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import SCHEMA_REVISION, Sessions
from dicom_node.errors import Permanent
from dicom_node.image_folder import open_store
from dicom_node.models import Instance
from dicom_node.storage import InstanceStore, StoredFile

INSTANCES, AUDIT = "instances", "audit"
_STATE = "state-"


@dataclass(frozen=True)
class Made:
    """What a backup is."""

    objects: int
    new: int  # of these, not in the folder before
    missing: int  # whose file is gone, or cannot be read


def back_up(settings: Settings, engine: Engine, folder: Path, clock: Clock) -> Made:
    """Make a backup in a folder that is new or holds earlier ones, of which it takes the place.

    A row is written when its file is durable, and a file goes only when its row says so: each row of the dump has its
    file, or it was removed meanwhile. Raises Permanent if the folder is something else's, or cannot be written.
    """
    now = clock()
    try:
        with _alone(folder):
            if (newest := newest_state(folder)) is not None:
                _clear_away(folder, but=newest)  # what was cut short: each would take room until one is whole
            state = folder / f"{_STATE}{now:%Y%m%dT%H%M%S%fZ}"
            state.mkdir()
            dump(engine, state)
            (state / "settings.json").write_text(settings.model_dump_json(indent=2), encoding="utf-8")
            made = _keep_objects(settings, engine, state, folder)
            keep_audit(settings.audit_dir, folder / AUDIT)
            digests = {file.name: sha256_of(file) for file in sorted(state.iterdir())}
            os.sync()
            Manifest(now.isoformat(), state.name, engine.dialect.name, SCHEMA_REVISION, digests).write(folder)
            _clear_away(folder, but=state.name)
            return made
    except OSError as error:
        raise Permanent(f"the backup could not be made: {error.strerror or type(error).__name__}") from error


def _keep_objects(settings: Settings, engine: Engine, state: Path, folder: Path) -> Made:
    store, count, new, missing = open_store(settings, Sessions(engine)), 0, 0, 0
    with (state / OBJECTS).open("w", encoding="utf-8") as lines:
        for each in stored_objects(state):
            count += 1
            found = each
            try:
                new += keep(store.root / each.path, folder / INSTANCES / each.path)
                found = _with_digest(store, each)
            except OSError as error:
                if not _is_missing(error, engine, store, each):
                    continue
                missing += 1
            lines.write(json.dumps(asdict(found)) + "\n")  # of what is missing, too: a restore names its study
    return Made(count, new, missing)


def _is_missing(error: OSError, engine: Engine, store: InstanceStore, each: StoredObject) -> bool:
    """Whether it should be there; False: it was removed since the dump. Raises the error where the folder has it."""
    if isinstance(error, FileNotFoundError):
        return _is_named(engine, each.path)
    try:
        store.sha256(StoredFile(each.path, each.size_bytes))
    except OSError:
        return True
    raise error


def _is_named(engine: Engine, path: str) -> bool:
    """Whether a row still says that the file is there; it may have been removed since the dump."""
    with Sessions(engine)() as session:
        named = select(Instance.id).where(Instance.path == path, col(Instance.removed_at).is_(None))
        return session.exec(named).first() is not None


def _with_digest(store: InstanceStore, found: StoredObject) -> StoredObject:
    """A row has no digest yet where the node was busy."""
    if found.sha256:
        return found
    return replace(found, sha256=store.sha256(StoredFile(found.path, found.size_bytes)))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """In a folder that only its owner can read, and with no other backup at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    strange = [file.name for file in folder.iterdir() if not _is_ours(file.name)]
    if strange:
        raise Permanent(f"{folder} holds other things than backups ({strange[0]}): name a folder of its own")
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Permanent(f"another backup is being made in {folder}") from error
    finally:
        os.close(handle)


def _is_ours(name: str) -> bool:
    return name in (INSTANCES, AUDIT, "lost+found") or name.startswith((NAME, _STATE))


def _clear_away(folder: Path, *, but: str) -> None:
    for state in folder.glob(f"{_STATE}*"):
        if state.name != but:
            shutil.rmtree(state)
