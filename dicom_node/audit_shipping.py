"""The audit trail's way to its collector: the files are the queue, a row says how far it has come.

Whatever dies at whatever moment, each message arrives, in order; after a crash or a lost answer some arrive again.
"""

import time
from collections.abc import Callable
from dataclasses import astuple
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from dicom_node import logs
from dicom_node.audit_files import Place, read_on
from dicom_node.audit_syslog import send, written_at
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Shipped
from dicom_node.peers import AuditSyslog
from dicom_node.tls import words_of

STREAM = "audit"
_TRY_AGAIN_AFTER_S = 10.0

_log = logs.get("audit")


class AuditShipping:
    """For one thread of one role; of two that ship at once, the collector gets some messages twice."""

    def __init__(
        self,
        settings: Settings,
        collector: AuditSyslog,
        sessions: Sessions,
        clock: Clock,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = settings.audit_dir
        self._collector = collector
        self._sessions = sessions
        self._clock = clock
        self._timer = timer
        self._again_at = 0.0
        self._is_away = False

    def ship(self) -> bool:
        """Send what is due, up to a limit. False: nothing is left, or the collector is waited for."""
        if self._timer() < self._again_at:
            return False
        place = self._place()
        try:
            messages, after = read_on(self._folder, place, self._clock())
            if messages:
                send(self._collector, messages)
        except OSError as error:
            self._wait(words_of(error))
            return False
        self._note_that_it_answers(bool(messages))
        if after != place:
            self._move(place, after)
        return bool(messages)

    def _place(self) -> Place:
        with self._sessions() as session:
            return _place(session)

    def _move(self, place: Place, after: Place) -> None:
        """Unless somebody else was first: then the place is read anew."""
        with self._sessions.begin() as session:
            if session.get(Shipped, STREAM) is None:
                session.add(_row(after))
                return
            columns = (col(Shipped.file), col(Shipped.inode), col(Shipped.position))
            here = [column == value for column, value in zip(columns, astuple(place), strict=True)]
            move = update(Shipped).where(col(Shipped.stream) == STREAM, *here)
            session.execute(move.values(dict(zip(columns, astuple(after), strict=True))))

    def _wait(self, why: str) -> None:
        self._again_at = self._timer() + _TRY_AGAIN_AFTER_S
        if not self._is_away:
            _log.error("audit_not_sent", reason=why, due_in_s=_TRY_AGAIN_AFTER_S)
        self._is_away = True

    def _note_that_it_answers(self, has_sent: bool) -> None:
        if has_sent and self._is_away:
            _log.info("audit_sent_again")
            self._is_away = False


def waiting_s(session: Session, settings: Settings, now: datetime) -> float:
    """Age of the oldest message that the collector does not have; 0: it has all, or there is none to have them.

    Raises OSError.
    """
    if settings.audit_syslog is None:
        return 0.0
    messages, _ = read_on(settings.audit_dir, _place(session), now)
    oldest = next((at for at in map(written_at, messages) if at is not None), now)
    return max(0.0, (now - oldest).total_seconds())


def _place(session: Session) -> Place:
    row = session.get(Shipped, STREAM)
    return Place(row.file, row.inode, row.position) if row else Place()


def _row(place: Place) -> Shipped:
    return Shipped(stream=STREAM, file=place.file, inode=place.inode, position=place.offset)
