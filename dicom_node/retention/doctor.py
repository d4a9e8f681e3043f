"""The doctor's check that what was to be removed is gone."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, func, select

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, opened_current
from dicom_node.doctor.diagnosis import Diagnosis, ok, warning
from dicom_node.errors import Permanent
from dicom_node.models import Instance
from dicom_node.retention.removal import is_to_go

_LATE = timedelta(hours=1)  # by then the receiver has tried six times


def check_removal(settings: Settings) -> Iterator[Diagnosis]:
    """Are files still there that should have been removed? A database that is away is another check's."""
    what = "retention"
    try:
        with opened_current(settings) as engine, Sessions(engine)() as session:
            count = _count_late(session)
    except (Permanent, DBAPIError, OSError):
        return
    if count:
        fix = "see that the receiver runs and may write in data_dir/instances; its log says why (files_not_removed)"
        yield warning(what, f"{count} files of images whose time was up are still there", fix)
        return
    yield ok(what, "no file is left whose time was up")


def _count_late(session: Session) -> int:
    late = select(func.count()).select_from(Instance).where(*is_to_go(), col(Instance.removed_at) < utc_now() - _LATE)
    return session.exec(late).one()
