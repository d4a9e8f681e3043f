"""Objects from files: each goes the way of a C-STORE, so what counts as imported is durable."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from hashlib import sha256
from typing import BinaryIO

from pydicom.uid import ExplicitVRLittleEndian
from sqlmodel import col, select, update

from dicom_node.errors import InvalidHeader
from dicom_node.models import Instance, Series, Study
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.header import InstanceHeader
from dicom_node.receive.intake import (
    CANNOT_UNDERSTAND,
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    OUT_OF_RESOURCES,
    Intake,
    Receiver,
)
from dicom_node.receive.media import MediaFile, Unreadable
from dicom_node.receive.recognition import HEAD_BYTES, NoObject, Recognised, recognise, refuse_unnamed_compression
from dicom_node.receive.transfers import Transfers
from dicom_node.states import StudyState
from dicom_node.storage import StoredFile

CALLING_AE = "IMPORT"  # of what is imported: `peers.IMPORT` vouches for it

_FILES_AT_ONCE = 8  # they share commits
_PIECE_BYTES = 1024 * 1024
_WORDS = {
    OUT_OF_RESOURCES: "no room on the disk, or the database is away: import it again later",
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS: "it belongs to no study or no series",
    CANNOT_UNDERSTAND: "its data set is cut short or cannot be understood",
}


class Fate(StrEnum):
    """What became of a file."""

    IMPORTED = "imported"
    ALREADY_THERE = "already there"
    SKIPPED = "skipped"
    REFUSED = "refused"


@dataclass(frozen=True)
class Outcome:
    name: str
    fate: Fate
    reason: str = ""


@dataclass
class Summary:
    """How many files went which way, and the names of the refused by reason."""

    counts: Counter[Fate] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    refused: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, outcome: Outcome) -> None:
        self.counts[outcome.fate] += 1
        if outcome.fate is Fate.SKIPPED:
            self.skipped[outcome.reason] += 1
        elif outcome.fate is Fate.REFUSED:
            self.refused[outcome.reason].append(outcome.name)


def import_files(
    receiver: Receiver, files: Iterable[MediaFile], transfers: Transfers
) -> Generator[Outcome, None, None]:
    """Import the files, several at once, and tell of each, in their order. Importing again changes nothing.

    Nothing is imported any more once the generator is closed, and all that was is in the transfers.
    """
    with ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="import") as pool:
        yield from pool.map(partial(_import, receiver, Intake(receiver), transfers), files)


def _import(receiver: Receiver, intake: Intake, transfers: Transfers, file: MediaFile) -> Outcome:
    try:
        found = _recognise(file)
        if _is_here(receiver, file, found):
            _renew(receiver, found)
            return Outcome(file.name, Fate.ALREADY_THERE)
        status, header = _deposit(intake, file, found)
    except NoObject as error:
        return Outcome(file.name, Fate.SKIPPED, str(error))
    except (InvalidHeader, Unreadable) as error:
        return Outcome(file.name, Fate.REFUSED, str(error))
    if header is not None:
        transfers.add(header)
        return Outcome(file.name, Fate.IMPORTED)
    return Outcome(file.name, Fate.REFUSED, _WORDS.get(status, f"a fault of this program (status {status:04X})"))


def _recognise(file: MediaFile) -> Recognised:
    with file.opened() as content:
        found = recognise(content.read(HEAD_BYTES))
    if found.is_guessed and found.transfer_syntax_uid == ExplicitVRLittleEndian:
        with file.opened() as content:
            content.seek(found.data_set_at)
            refuse_unnamed_compression(content)
    return found


def _renew(receiver: Receiver, found: Recognised) -> None:
    """It was wanted here a moment ago: so it is not removed as if nobody had sent it."""
    ours = select(Series.study_id).join(Instance).where(Instance.sop_instance_uid == found.sop_instance_uid)
    complete = (col(Study.id).in_(ours), col(Study.state) == StudyState.COMPLETE)
    with receiver.sessions.begin() as session:
        session.execute(update(Study).where(*complete).values(last_received_at=receiver.clock()))


def _is_here(receiver: Receiver, file: MediaFile, found: Recognised) -> bool:
    """Whether the same bytes are here under the same UID. Asked before anything is written: imports are repeated."""
    of_this = (col(Instance.sop_instance_uid) == found.sop_instance_uid, col(Instance.removed_at).is_(None))
    with receiver.sessions() as session:
        known = session.exec(select(Instance.path, Instance.size_bytes, Instance.sha256).where(*of_this)).all()
    variants = [each for each in known if receiver.store.holds(each[0])]
    if not variants:
        return False
    digest = sha256()
    for piece in _data_set(file, found):
        digest.update(piece)
    return any(
        digest.hexdigest() == (known or _sha256(receiver, StoredFile(path, size))) for path, size, known in variants
    )


def _sha256(receiver: Receiver, stored: StoredFile) -> str:
    """Empty where the file cannot be read: it is like no other."""
    with suppress(OSError):
        return receiver.store.sha256(stored)
    return ""


def _deposit(intake: Intake, file: MediaFile, found: Recognised) -> tuple[int, InstanceHeader | None]:
    """The status of the C-STORE that it would have been, and what is durable now, where that is Success."""
    deposit = intake.begin(
        Announcement(found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid, CALLING_AE)
    )
    try:
        for piece in _data_set(file, found):
            deposit.write([piece])
        return deposit.finish(), deposit.header
    finally:
        deposit.discard()


def _data_set(file: MediaFile, found: Recognised) -> Iterator[bytes]:
    with file.opened() as content:
        content.read(found.data_set_at)
        yield from _pieces(content)


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    while piece := content.read(_PIECE_BYTES):
        yield piece
