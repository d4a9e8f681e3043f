"""One STOW-RS request's objects, each on its way from the body to its row. Blocks: for a worker thread."""

from dataclasses import dataclass
from functools import partial

from dicom_node import logs
from dicom_node.errors import InvalidHeader
from dicom_node.receive.announcement import Announcement
from dicom_node.receive.intake import CANNOT_UNDERSTAND, Deposit, Intake
from dicom_node.receive.recognition import HEAD_BYTES, NoObject, recognise
from dicom_node.receive.transfers import Transfers
from dicom_node.uids import is_uid
from dicom_node.web.multipart import MultipartParser

MOST_PARTS = 10_000  # of one request: each is a line of the answer, which is held in memory

_log = logs.get("upload")


@dataclass(frozen=True)
class Outcome:
    """What became of one part."""

    status: int  # as C-STORE would answer it (PS3.4 table B.2-1)
    announced: Announcement | None  # None: it never said what it is


class TooManyParts(Exception):
    """More than one request may have."""


class Upload:
    """The parts of one request, one after the other."""

    def __init__(
        self, intake: Intake, transfers: Transfers, *, calling_ae: str, boundary: bytes, study_instance_uid: str
    ) -> None:
        """study_instance_uid: the only study whose objects are kept; empty: of any."""
        self._begin_part = partial(_Part, intake, transfers, calling_ae, study_instance_uid)
        self._parser = MultipartParser(boundary)
        self._part: _Part | None = None  # that is being received
        self.outcomes: list[Outcome] = []

    @property
    def is_complete(self) -> bool:
        return self._parser.is_complete

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Raises BadMultipart, TooManyParts; what was stored before stays stored."""
        for piece in self._parser.feed(chunk):
            if len(self.outcomes) == MOST_PARTS:
                raise TooManyParts(f"more than {MOST_PARTS} parts")
            part = self._part = self._part or self._begin_part()
            part.take(piece.content)
            if piece.is_last:
                self.outcomes.append(part.finish())
                self._part = None

    def discard(self) -> None:
        """Forget the part that was not received whole."""
        if self._part is not None:
            self._part.discard()
            self._part = None


class _Part:
    """A Part 10 file: its data set is kept byte for byte, under file meta information of our own."""

    def __init__(self, intake: Intake, transfers: Transfers, calling_ae: str, study_instance_uid: str) -> None:
        self._intake = intake
        self._transfers = transfers
        self._calling_ae = calling_ae
        self._study_instance_uid = study_instance_uid
        self._head: bytearray | None = bytearray()  # until it is known what it is
        self._announced: Announcement | None = None
        self._deposit: Deposit | None = None

    def take(self, content: memoryview) -> None:
        if self._head is not None:
            self._head += content
            if len(self._head) >= HEAD_BYTES:
                self._begin(bytes(self._head))
        elif self._deposit is not None:
            self._deposit.write([content])

    def finish(self) -> Outcome:
        if self._head is not None:
            self._begin(bytes(self._head))
        if self._deposit is None:
            return Outcome(CANNOT_UNDERSTAND, self._announced)
        status = self._deposit.finish()
        if self._deposit.header is not None:
            self._transfers.add(self._deposit.header)
        return Outcome(status, self._announced)

    def discard(self) -> None:
        if self._deposit is not None:
            self._deposit.discard()

    def _begin(self, head: bytes) -> None:
        self._head = None
        try:
            announced, data_set_at = self._announcement(head)
        except (NoObject, InvalidHeader) as error:
            status = f"{CANNOT_UNDERSTAND:04X}"
            _log.warning("object_refused", calling_ae=self._calling_ae, status=status, reason=str(error))
            return
        self._announced = announced
        self._deposit = self._intake.begin(announced)
        self._deposit.write([head[data_set_at:]])

    def _announcement(self, head: bytes) -> tuple[Announcement, int]:
        """What the file says it holds, and where its data set begins. Raises NoObject or InvalidHeader."""
        found = recognise(head[:HEAD_BYTES])
        if found.is_guessed:
            raise InvalidHeader("no transfer syntax is stated, expected DICOM Part 10")
        uids = (found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid)
        if not all(map(is_uid, uids)):
            raise InvalidHeader("SOP Class, SOP Instance or Transfer Syntax UID is none")
        return Announcement(*uids, self._calling_ae, self._study_instance_uid), found.data_set_at
