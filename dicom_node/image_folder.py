"""The folder of the images, where rows may name what is in it: if it is empty then, its disk is not mounted."""

from pathlib import Path

from sqlmodel import col, select

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import StorageAway
from dicom_node.models import Instance
from dicom_node.storage import InstanceStore

_FOLDERS, _FIRST = "??", "00"  # the sub-folders, which are made with the folder


def open_store(settings: Settings, sessions: Sessions, *, min_free_bytes: int = 0) -> InstanceStore:
    """Raises StorageAway where there is none and rows name files in it, Permanent where it cannot be used.

    Made anew below an empty mount point, it would take what comes, hide it from the disk that is mounted later, and
    have each study fail whose image is on that disk.
    """
    require_mounted(settings, sessions)
    return InstanceStore(settings.instances_dir, min_free_bytes=min_free_bytes)


def require_mounted(settings: Settings, sessions: Sessions) -> None:
    """Raises StorageAway where there is none and rows name files in it."""
    root = settings.instances_dir
    if next(root.glob(_FOLDERS), None) is None and _is_any_named(sessions):
        raise StorageAway(_missing(root.absolute()))


def _is_any_named(sessions: Sessions) -> bool:
    with sessions() as session:
        named = select(Instance.id).where(Instance.path != "", col(Instance.removed_at).is_(None)).limit(1)
        return session.exec(named).first() is not None


def _missing(root: Path) -> str:
    return (
        f"{root} is empty, and rows name images in it: mount its disk, or restore a backup; "
        f"where they are lost for good, make the folder {root / _FIRST}"
    )
