"""One object's way from the wire to its row: written as it comes, read, made durable, committed (PS3.4 B.2.3)."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydicom.uid import DeflatedExplicitVRLittleEndian
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import InvalidHeader, OutsideStudy, StorageFull
from dicom_node.image_folder import open_store
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.catalog import Catalog, Files, Registered
from dicom_node.receive.deflate import inflating, refuse_deflate_bomb
from dicom_node.receive.group_commit import GroupCommit
from dicom_node.receive.header import InstanceHeader, read_header
from dicom_node.receive.part10 import file_prefix
from dicom_node.receive.plain_elements import Readable
from dicom_node.storage import InstanceStore, StoredFile, Unfinished

# PS3.4 table B.2-1, PS3.7 annex C
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
UNEXPECTED = 0xC001  # a fault of ours: the sender keeps the object, the log has the place

# Of each its name, and when it is answered.
STATUSES: Mapping[int, tuple[str, str]] = {
    SUCCESS: (
        "Success",
        "the file is fsynced, its folder is fsynced, its row is committed; also for the same bytes again",
    ),
    OUT_OF_RESOURCES: (
        "Out of resources",
        "`min_free_bytes` would be touched, disk or database cannot take it: send again",
    ),
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS: (
        "Data set does not match SOP class",
        "SOP class or instance UID differ between command and data set, or no valid Study or Series Instance UID",
    ),
    CANNOT_UNDERSTAND: (
        "Cannot understand",
        "the data set is cut short, cannot be parsed, or has no valid SOP Class or SOP Instance UID",
    ),
    UNEXPECTED: ("Unexpected", "a fault of this program; nothing was acknowledged"),
}

_STUDIES_TOLD = 1_000  # so many are remembered; of an older one the log says again that it comes

_log = logs.get("intake")


class _NotAsAnnounced(InvalidHeader):
    """The data set is not the object that the command named."""


@dataclass(frozen=True)
class Receiver:
    """What a C-STORE needs beside the object itself."""

    store: InstanceStore
    sessions: Sessions
    clock: Clock

    @classmethod
    def of(cls, settings: Settings, engine: Engine, clock: Clock) -> "Receiver":
        """Raises what `open_store` does."""
        sessions = Sessions(engine)
        return cls(open_store(settings, sessions, min_free_bytes=settings.min_free_bytes), sessions, clock)


@dataclass(frozen=True)
class Record:
    """A durable file that has no row yet."""

    header: InstanceHeader
    unfinished: Unfinished
    stored: StoredFile
    calling_ae: str


class Intake:
    """Takes objects from all associations; their rows are committed in groups."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._files = files_of(receiver.store)
        self._rows = GroupCommit(self._commit)
        self._told: dict[int, None] = {}  # studies, the oldest first
        self._telling = threading.Lock()

    def begin(self, announced: Announcement) -> "Deposit":
        return Deposit(self, announced)

    def open(self, announced: Announcement) -> Unfinished:
        return self._receiver.store.begin(file_prefix(announced))

    def keep(self, unfinished: Unfinished, announced: Announcement) -> InstanceHeader:
        """Make file and row durable. Raises what prevents it."""
        unfinished.begin_write_back()
        header = _read(unfinished.reader(), announced)
        _require_what_was_announced(header, announced)
        stored = unfinished.seal()
        registered = self._rows.add(Record(header, unfinished, stored, announced.calling_ae))
        self._log_study(registered.study_id, announced.calling_ae)
        of = {"instance": registered.instance_id, "calling_ae": announced.calling_ae}
        _log.debug("instance_stored", **of, bytes=stored.size_bytes)
        return header

    def _commit(self, records: Sequence[Record]) -> list[Registered]:
        """What became of each, when the rows are on the disk, as the files are."""
        with self._receiver.sessions.transaction() as connection:
            catalog = Catalog(connection, self._files)
            # Always in the same order: two processes that lock the same studies must not wait for each other.
            results = {
                id(each): catalog.register(
                    each.header, each.stored, calling_ae=each.calling_ae, now=self._receiver.clock()
                )
                for each in sorted(records, key=_lock_order)
            }
            registered = [results[id(each)] for each in records]
            for record, result in zip(records, registered, strict=True):
                if result.is_new:
                    record.unfinished.keep()  # before the commit: if that is cut short, who knows what was committed
        return registered

    def _log_study(self, study_id: int, calling_ae: str) -> None:
        """The first line of a study's story: that it comes, and from whom. Not of every slice of a CT."""
        with self._telling:
            is_told = study_id in self._told
            self._told[study_id] = None
            if len(self._told) > _STUDIES_TOLD:
                del self._told[next(iter(self._told))]
        if not is_told:
            _log.info("study_comes", study=study_id, calling_ae=calling_ae)


def _lock_order(record: Record) -> tuple[str, str, str]:
    header = record.header
    return header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid


def files_of(store: InstanceStore) -> Files:
    return Files(store.sha256, store.holds, partial(_remove, store))


def _remove(store: InstanceStore, instance_id: int, path: str) -> None:
    """What has come is kept, also where the disk does not give the old file up."""
    for error in store.remove([path]).values():
        _log.error("file_not_removed", instance=instance_id, reason=error.strerror or type(error).__name__)


def _require_what_was_announced(header: InstanceHeader, announced: Announcement) -> None:
    if (header.sop_class_uid, header.sop_instance_uid) != (announced.sop_class_uid, announced.sop_instance_uid):
        raise _NotAsAnnounced("the data set has another SOP class or instance than its C-STORE-RQ")
    if announced.study_instance_uid not in ("", header.study_instance_uid):
        raise _NotAsAnnounced("the data set belongs to another study than the request")


def _read(part10: Readable, announced: Announcement) -> InstanceHeader:
    if announced.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return read_header(part10)
    with inflating:
        part10.seek(len(file_prefix(announced)))
        refuse_deflate_bomb(part10)
        part10.seek(0)
        return read_header(part10)


class Deposit:
    """One object while it is received. Nothing is raised: what goes wrong becomes the status that `finish` returns.

    header: what was kept, once `finish` has returned Success.
    """

    header: InstanceHeader | None = None

    def __init__(self, intake: Intake, announced: Announcement) -> None:
        self._intake = intake
        self._announced = announced
        self._status = SUCCESS
        self._unfinished: Unfinished | None = None
        self._attempt(self._open)

    def write(self, pieces: list[bytes | memoryview]) -> None:
        """Take pieces of the data set; they must stay as they are until the next call has returned."""
        if self._unfinished is not None:
            self._attempt(partial(self._unfinished.write, pieces))

    def finish(self) -> int:
        """The status to answer (PS3.4 table B.2-1). At SUCCESS the file, its name and its row are durable."""
        if self._unfinished is not None:
            self._attempt(partial(self._keep, self._unfinished))
            self.discard()
        return self._status

    def discard(self) -> None:
        """Forget the object, unless a row may name its file."""
        if self._unfinished is not None:
            self._unfinished.discard()
            self._unfinished = None

    def _open(self) -> None:
        self._unfinished = self._intake.open(self._announced)

    def _keep(self, unfinished: Unfinished) -> None:
        self.header = self._intake.keep(unfinished, self._announced)

    def _attempt(self, step: Callable[[], None]) -> None:
        """The only place that turns errors into DIMSE statuses."""
        try:
            step()
        except (OutsideStudy, _NotAsAnnounced) as error:
            self._refuse(DATA_SET_DOES_NOT_MATCH_SOP_CLASS, error)
        except InvalidHeader as error:
            self._refuse(CANNOT_UNDERSTAND, error)
        except (StorageFull, SQLAlchemyError) as error:
            self._refuse(OUT_OF_RESOURCES, error)
        except Exception as error:  # noqa: BLE001  one of the three catchers: the peer must get an answer
            self._refuse(UNEXPECTED, error)

    def _refuse(self, status: int, error: Exception) -> None:
        self._status = status
        self.discard()
        trace = logs.places(error)
        _log.warning("object_refused", calling_ae=self._announced.calling_ae, status=f"{status:04X}", trace=trace)
