"""The round that removes images: those whose time is up, and, where the disk is short, the oldest before their time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from dicom_node import logs
from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.errors import StorageFull
from dicom_node.receive.intake import Receiver
from dicom_node.retention.eligible import START, Place, find_ended
from dicom_node.retention.removal import find_begun, give_up_images, instances_with_files, remove_files

_LOOK_EVERY_S = 600.0
_MOST_REFUSED = 500  # at one look: it costs more the more they are
_YOUNGEST = timedelta(hours=1)  # removed before its time: who is about to look at it may

_log = logs.get("retention")


@dataclass(frozen=True)
class _Reason:
    """Why images may go."""

    ended_before: datetime
    words: str
    makes_room: bool = False  # it is for room that they go


class Retention:
    """For one thread; several processes may do it at once."""

    def __init__(
        self,
        settings: Settings,
        receiver: Receiver,
        trail: AuditTrail,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = settings.retention
        self._receiver = receiver
        self._trail = trail
        self._timer = timer
        self._look_at = self._began_by_timer = timer()
        self._began_at = receiver.clock()
        # Where the look for each reason is: those before that have images are needed, or make no room.
        self._after: dict[str, Place] = {}
        self._refused = 0  # at this look
        self._stuck: set[int] = set()  # the disk does not give all of their files up, and the log says so

    def go_round(self) -> bool:
        """Remove the images of one study, if it is time to look for one. True: there may be more."""
        if self._timer() < self._look_at:
            return False
        try:
            is_busy = self._finish_begun() or self._remove_one()
        except (OSError, StorageFull) as error:  # the disk cannot be asked
            _log.error("disk_away", error=type(error).__name__)
            is_busy = False
        if not is_busy:
            self._look_at = self._timer() + _LOOK_EVERY_S
            if self._refused < _MOST_REFUSED:  # else the next goes on where this ended
                self._after.clear()
            self._refused = 0
        return is_busy

    def _finish_begun(self) -> bool:
        """Remove what an earlier round has left, whatever the settings say now. True: some of it went."""
        with self._receiver.sessions() as session:
            begun = find_begun(session)
        gone = [study_id for study_id in begun if self._finish(study_id)]
        return bool(gone)

    def _remove_one(self) -> bool:
        """False: there is none to go, or the disk does not give it up: then no other is begun."""
        for reason in self._reasons():
            for place in self._candidates(reason):
                if self._give_up(place.study_id, reason):
                    return self._finish(place.study_id)
                self._after[reason.words], self._refused = place, self._refused + 1
        return False

    def _candidates(self, reason: _Reason) -> Iterator[Place]:
        while ended := self._find(reason):
            for place in ended:
                if self._refused >= _MOST_REFUSED:
                    return
                yield place

    def _finish(self, study_id: int) -> bool:
        """Whether all files of the study are gone now; the rest is tried again at the next look."""
        stuck = remove_files(self._receiver.sessions, self._receiver.store, self._trail, study_id)
        if not stuck:
            self._stuck.discard(study_id)
        elif study_id not in self._stuck:
            self._stuck.add(study_id)
            reason = stuck[0].strerror or type(stuck[0]).__name__
            _log.error("files_not_removed", study=study_id, count=len(stuck), reason=reason, due_in_s=_LOOK_EVERY_S)
        return not stuck

    def _find(self, reason: _Reason) -> list[Place]:
        with self._receiver.sessions() as session:
            return find_ended(session, reason.ended_before, after=self._after.get(reason.words, START))

    def _reasons(self) -> Iterator[_Reason]:
        now, wanted = self._receiver.clock(), self._wanted
        if wanted.days is not None:
            words = f"it ended more than {wanted.days} days ago"
            yield _Reason(min(now, self._now_by_timer()) - timedelta(days=wanted.days), words)
        if wanted.free_bytes and self._receiver.store.free_bytes() < wanted.free_bytes:
            words = "little of the disk is free, and it was the oldest that had ended"
            yield _Reason(now - _YOUNGEST, words, makes_room=True)

    def _now_by_timer(self) -> datetime:
        """A clock that leaps a year ahead makes no image a year old: set right again, it would bring none back."""
        return self._began_at + timedelta(seconds=self._timer() - self._began_by_timer)

    def _give_up(self, study_id: int, reason: _Reason) -> bool:
        try:
            count = self._count_given_up(study_id, reason)
        except OSError as error:  # an image that cannot be read may be readable later: it stays, and holds up no other
            _log.error("image_not_read", study=study_id, reason=error.strerror or type(error).__name__)
            return False
        if count:
            _log.info("images_removed", study=study_id, count=count)
        return count > 0

    def _count_given_up(self, study_id: int, reason: _Reason) -> int:
        """How many objects go."""
        store, before = self._receiver.store, reason.ended_before
        now = self._receiver.clock()
        with self._receiver.sessions.begin() as session:
            if reason.makes_room and not self._would_make_room(session, study_id):
                return 0
            return give_up_images(session, store, study_id, ended_before=before, now=now, why=reason.words)

    def _would_make_room(self, session: Session, study_id: int) -> bool:
        """Not where a backup on the same disk has second names of the files: without end, nothing would come of it."""
        return any(self._receiver.store.is_only_name(each.path) for each in instances_with_files(session, study_id))
