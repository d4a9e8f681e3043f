"""One object's way from the wire to its row: written as it comes, read, made durable, committed (PS3.4 B.2.3)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.database import Sessions
from dicom_node.errors import InvalidHeader, OutsideStudy, StorageFull
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.catalog import register
from dicom_node.receive.deflate import inflating, refuse_deflate_bomb
from dicom_node.receive.group_commit import GroupCommit
from dicom_node.receive.header import InstanceHeader, read_header
from dicom_node.receive.part10 import file_prefix
from dicom_node.storage import InstanceStore, StoredFile, Unfinished

# PS3.4 table B.2-1, PS3.7 annex C
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
UNEXPECTED = 0xC001  # a fault of ours: the sender keeps the object, the log has the place

_log = logs.get("intake")


@dataclass(frozen=True)
class Receiver:
    """What a C-STORE needs beside the object itself."""

    store: InstanceStore
    sessions: Sessions
    clock: Clock


@dataclass(frozen=True)
class Record:
    """A durable file that has no row yet."""

    header: InstanceHeader
    stored: StoredFile
    calling_ae: str


class Intake:
    """Takes objects from all associations; their rows are committed in groups."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._rows = GroupCommit(self._commit)

    def begin(self, announced: Announcement) -> "Deposit":
        return Deposit(self, announced)

    def open(self, announced: Announcement) -> Unfinished:
        return self._receiver.store.begin(file_prefix(announced))

    def keep(self, unfinished: Unfinished, announced: Announcement) -> int:
        """Make file and row durable. Returns the status to answer; raises what prevents it."""
        header = _read(unfinished.path, announced)
        if (header.sop_class_uid, header.sop_instance_uid) != (announced.sop_class_uid, announced.sop_instance_uid):
            return DATA_SET_DOES_NOT_MATCH_SOP_CLASS
        stored = unfinished.seal()
        instance_id = self._rows.add(Record(header, stored, announced.calling_ae))
        _log.info("instance_stored", instance=instance_id, calling_ae=announced.calling_ae)
        return SUCCESS

    def _commit(self, records: Sequence[Record]) -> list[int]:
        """The ids of the records' rows, when names and rows are on the disk."""
        self._receiver.store.settle(record.stored for record in records)
        now = self._receiver.clock()
        with self._receiver.sessions.begin() as session:
            return [
                register(session, record.header, record.stored, calling_ae=record.calling_ae, now=now)
                for record in records
            ]


def _read(file: Path, announced: Announcement) -> InstanceHeader:
    if announced.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return read_header(file)
    with inflating, file.open("rb") as part10:
        part10.seek(len(file_prefix(announced)))
        refuse_deflate_bomb(part10)
        return read_header(file)


class Deposit:
    """One object while it is received. Nothing is raised: what goes wrong becomes the status that `finish` returns."""

    def __init__(self, intake: Intake, announced: Announcement) -> None:
        self._intake = intake
        self._announced = announced
        self._began = time.monotonic()
        self._size = 0
        self._status = SUCCESS
        self._unfinished: Unfinished | None = None
        self._attempt(self._open)

    def write(self, pieces: list[bytes | memoryview]) -> None:
        """Take pieces of the data set; they must stay as they are until the next call has returned."""
        self._size += sum(map(len, pieces))
        if self._unfinished is not None:
            self._attempt(lambda: self._write(pieces))

    def finish(self) -> int:
        """The status to answer (PS3.4 table B.2-1). At SUCCESS the file, its name and its row are durable."""
        if self._unfinished is not None:
            self._attempt(self._keep)
        seconds = round(time.monotonic() - self._began, 4)
        _log.debug("c_store", status=f"{self._status:04X}", bytes=self._size, seconds=seconds)
        return self._status

    def discard(self) -> None:
        """Forget the object; harmless after `finish`."""
        if self._unfinished is not None:
            self._unfinished.discard()
            self._unfinished = None

    def _open(self) -> int:
        self._unfinished = self._intake.open(self._announced)
        return SUCCESS

    def _write(self, pieces: list[bytes | memoryview]) -> int:
        if self._unfinished is not None:
            self._unfinished.write(pieces)
        return SUCCESS

    def _keep(self) -> int:
        return self._intake.keep(self._unfinished, self._announced) if self._unfinished else self._status

    def _attempt(self, step: Callable[[], int]) -> None:
        """The only place that turns errors into DIMSE statuses."""
        error: Exception | None = None
        try:
            self._status = step()
        except OutsideStudy as caught:
            self._status, error = DATA_SET_DOES_NOT_MATCH_SOP_CLASS, caught
        except InvalidHeader as caught:
            self._status, error = CANNOT_UNDERSTAND, caught
        except (StorageFull, SQLAlchemyError) as caught:
            self._status, error = OUT_OF_RESOURCES, caught
        except Exception as caught:  # noqa: BLE001  one of the three catchers: the peer must get an answer
            self._status, error = UNEXPECTED, caught
        if self._status != SUCCESS:
            self._refuse(error)

    def _refuse(self, error: Exception | None) -> None:
        self.discard()
        trace = {"trace": logs.places(error)} if error else {}
        _log.warning("object_refused", calling_ae=self._announced.calling_ae, status=f"{self._status:04X}", **trace)
