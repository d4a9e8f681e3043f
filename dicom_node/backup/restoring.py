"""`dicom-node restore`: files first, then their rows, into a node that is empty."""

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import select

from dicom_node.backup.audit_files import bring_back_audit
from dicom_node.backup.making import AUDIT, INSTANCES
from dicom_node.backup.manifest import StoredObject, read_manifest, read_objects, require_unchanged
from dicom_node.backup.objects import keep
from dicom_node.backup.rows import load, require_empty
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Instance, Series
from dicom_node.storage import InstanceStore, StoredFile


@dataclass(frozen=True)
class Restored:
    """What a node was filled with."""

    made_at: str
    objects: int
    damaged: int  # of these, not what was received: their rows are here, their files are not
    studies: tuple[int, ...]  # whose those are


def restore(settings: Settings, engine: Engine, folder: Path, clock: Clock) -> Restored:
    """Fill an empty node from a backup. Cut short, it can be begun again: rows come last, and all at once.

    Raises Permanent if the node is not empty, or the backup is of another database or damaged in its rows.
    """
    manifest = read_manifest(folder)
    if manifest.database != engine.dialect.name:
        raise Permanent(f"the backup is of {manifest.database}, and this node's database is {engine.dialect.name}")
    require_unchanged(folder, manifest)
    require_empty(engine, clock())
    state = folder / manifest.state
    store = InstanceStore(settings.instances_dir)
    try:
        objects = list(read_objects(state))
        damaged = {each.path for each in objects if not _keep_whole(store, folder / INSTANCES, each)}
        settings.audit_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        bring_back_audit(folder / AUDIT, settings.audit_dir)
        os.sync()
    except OSError as error:
        raise Permanent(f"the files could not be restored: {error.strerror or type(error).__name__}") from error
    try:
        load(engine, state, manifest.schema)
    except OSError as error:
        raise Permanent(f"the rows could not be restored: {error.strerror or type(error).__name__}") from error
    return Restored(manifest.made_at, len(objects), len(damaged), _studies_of(engine, damaged))


def _studies_of(engine: Engine, paths: Collection[str]) -> tuple[int, ...]:
    """Looked up here: so many paths are more than a statement may have parameters."""
    if not paths:
        return ()
    with Sessions(engine)() as session:
        rows = session.exec(select(Instance.path, Series.study_id).join(Series).where(Instance.path != "")).yield_per(
            1000
        )
        return tuple(sorted({study_id for path, study_id in rows if path in paths}))


def _keep_whole(store: InstanceStore, source: Path, each: StoredObject) -> bool:
    """False: the file is not what was received, or is not there."""
    if _is_whole(store, each):
        return True  # of a restore that was cut short, or of the node that was lost
    target = store.root / each.path
    target.unlink(missing_ok=True)
    try:
        keep(source / each.path, target)
    except FileNotFoundError:
        return False
    if _is_whole(store, each):
        return True
    target.unlink()  # a second name or a copy: the backup's own stays
    return False


def _is_whole(store: InstanceStore, each: StoredObject) -> bool:
    with suppress(OSError):  # it is not there, cannot be read, or is too short
        return store.sha256(StoredFile(each.path, each.size_bytes)) == each.sha256
    return False
