"""What stays of an image that goes, where a draft was made of it: its header. By that the draft can be withdrawn."""

from collections.abc import Iterable
from pathlib import Path

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from sqlmodel import Session, select

from dicom_node.models import Instance, Job, Report
from dicom_node.pydicom_faults import PARSE_ERRORS, silence_pydicom
from dicom_node.storage import InstanceStore

_OVERLAYS = 0x6000  # group; what comes from here on is pictures, and no report tells of it


def keep_headers(session: Session, store: InstanceStore, study_id: int, instances: Iterable[Instance]) -> None:
    """Keep those of drafted images, before their files go. Raises OSError if the disk fails."""
    drafted = set(session.exec(select(Report.instance_id).join(Job).where(Job.study_id == study_id)))
    for instance in instances:
        if instance.id in drafted:
            instance.header = header_of(store.root / instance.path)


def header_of(part10: Path) -> bytes | None:
    """The file as it is, up to overlays and pixels; None for one that is gone or cannot be parsed.

    Of a deflated one, everything: it cannot be cut. Raises OSError if the disk fails.
    """
    silence_pydicom()
    try:
        with part10.open("rb") as file:
            read_partial(file, _is_picture)
            length = file.tell()
            file.seek(0)
            return file.read(length)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except PARSE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the data
        return None


def _is_picture(tag: BaseTag, _: str | None, __: int) -> bool:
    return tag.group >= _OVERLAYS
