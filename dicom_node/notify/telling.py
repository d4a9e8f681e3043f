"""Tells channels what changed: once when a condition begins, again when there is more of it, and when it is over.

Two roles do it, so that one of them can tell that the other is gone; a row for each channel and condition says which
of them tells what, and what was told. That the database is away, which no row can say, each of them tells.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col

from dicom_node import logs
from dicom_node.clock import Clock, utc_now
from dicom_node.config import Settings
from dicom_node.database import AWAY, Sessions
from dicom_node.models import Notice
from dicom_node.notify.channel import Sender
from dicom_node.notify.conditions import Finding, look, look_at_disk
from dicom_node.rounds import every

_LOOK_EVERY_S = 60.0
_LEASE = timedelta(minutes=5)  # longer than sending may take; what could not be sent is tried again then
_NOT_AGAIN_WITHIN = timedelta(minutes=15)
_DATABASE_AWAY = "The database does not answer: nothing is received, drafted or delivered."

_log = logs.get("notify")


@contextmanager
def telling(settings: Settings, sessions: Sessions) -> Iterator[None]:
    """Look and tell from a thread of its own while the block runs; nothing waits for it, also not the end."""
    over = threading.Event()
    if settings.notify:
        work = NoticeTeller(settings, sessions, utc_now).tell
        threading.Thread(target=every, args=(_LOOK_EVERY_S, over, work), name="notices", daemon=True).start()
    try:
        yield
    finally:
        over.set()


class NoticeTeller:
    """For one thread."""

    def __init__(self, settings: Settings, sessions: Sessions, clock: Clock) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        self._senders = [Sender(channel) for channel in settings.notify]
        self._before: dict[str, bool] = {}
        self._is_away = False  # the database, at the look before
        self._told_away: set[str] = set()  # channels

    def tell(self) -> None:
        """One look. What is raised now and was at the look before is told, to whom it is news.

        Raises what the database raises that is away.
        """
        try:
            findings = self._look()
        except AWAY:
            self._tell_of_database(is_away=True)
            raise
        self._tell_of_database(is_away=False)
        for finding in self._steady(findings):
            for sender in self._senders:
                if finding.kind in sender.channel.on:
                    self._tell_if_news(sender, finding)

    def _look(self) -> list[Finding]:
        with self._sessions() as session:
            return [*look(session, self._settings, self._clock()), *look_at_disk(self._settings)]

    def _tell_of_database(self, *, is_away: bool) -> None:
        is_steady, self._is_away = self._is_away is is_away, is_away
        if not is_steady:
            return
        words = [_DATABASE_AWAY, *(each.words for each in look_at_disk(self._settings) if each.is_raised)]
        finding = Finding("database", "role", is_away, not is_away, " ".join(words) if is_away else "It answers.")
        for sender in self._senders:
            name = sender.channel.name
            is_news = finding.kind in sender.channel.on and (name in self._told_away) is not is_away
            if is_news and sender.send(self._title(finding), self._body(finding)):
                self._told_away ^= {name}

    def _steady(self, findings: list[Finding]) -> list[Finding]:
        """Without what has only just begun: a role that is restarted is there again at the next look."""
        before, self._before = self._before, {each.condition: each.is_raised for each in findings}
        return [each for each in findings if not each.is_raised or before.get(each.condition)]

    def _tell_if_news(self, sender: Sender, finding: Finding) -> None:
        now = self._clock()
        if not self._claim(sender.channel.name, finding, now):
            return
        if not sender.send(self._title(finding), self._body(finding)):
            return
        _log.info("notified", destination=sender.channel.name, kind=finding.kind, state=finding.is_raised)
        with self._sessions.begin() as session:
            notice = session.get_one(Notice, (sender.channel.name, finding.condition))
            notice.is_raised, notice.newest = finding.is_raised, finding.newest
            notice.due_at = now + _NOT_AGAIN_WITHIN
            session.add(notice)

    def _claim(self, channel: str, finding: Finding, now: datetime) -> bool:
        """Whether it is news to the channel, and this process is the one to tell it."""
        try:
            with self._sessions.begin() as session:
                return _take(session, channel, finding, now)
        except IntegrityError:  # the other role made the row in the same moment
            return False

    def _title(self, finding: Finding) -> str:
        return f"{self._settings.ae_title}: {finding.condition}{'' if finding.is_raised else ' is well again'}"

    def _body(self, finding: Finding) -> str:
        page = self._settings.page_url
        return f"{finding.words}\n{page.rstrip('/')}{finding.page}" if page else finding.words


def _take(session: Session, channel: str, finding: Finding, now: datetime) -> bool:
    notice = session.get(Notice, (channel, finding.condition))
    if notice is None:
        notice = Notice(channel=channel, condition=finding.condition, due_at=now)
        if finding.is_raised:
            session.add(notice)
            session.flush()
    is_early = now < notice.due_at <= now + _NOT_AGAIN_WITHIN  # later still: by a clock that was ahead
    if is_early or not _is_news(notice, finding):
        return False
    mine = (col(Notice.channel) == channel, col(Notice.condition) == finding.condition)
    is_as_read = col(Notice.due_at) == notice.due_at
    claimed = session.execute(update(Notice).where(*mine, is_as_read).values(due_at=now + _LEASE))
    return cast(CursorResult[Any], claimed).rowcount == 1


def _is_news(notice: Notice, finding: Finding) -> bool:
    if finding.is_raised:
        return not notice.is_raised or finding.newest > notice.newest
    return finding.is_over and notice.is_raised
