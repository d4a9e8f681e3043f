"""How an association ended, noted in the studies that came on it: released, or broken off.

Which association an object came on is told by its sender and its time. Where two of one sender were open at once that
cannot be told, and the studies wait for the end of both. Of several processes on the port each knows its own alone.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pynetdicom.association import Association
from pynetdicom.events import Event
from sqlalchemy import ColumnElement, and_, false, or_
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.models import Instance, Series, Study
from dicom_node.receive.intake import Receiver
from dicom_node.states import StudyState

_log = logs.get("association_end")


@dataclass(frozen=True)
class _Sending:
    """An association, as far as the rows of what came on it know it."""

    calling_ae: str
    since: datetime

    @property
    def sent(self) -> ColumnElement[bool]:
        return and_(col(Instance.calling_ae) == self.calling_ae, col(Instance.received_at) >= self.since)


_Note = Callable[[Session, _Sending, Collection[_Sending], datetime], None]


class AssociationEnds:
    """Knows since when associations are open; how they ended is in the database alone."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._lock = threading.Lock()
        self._open: dict[Association, datetime] = {}

    def on_requested(self, event: Event) -> None:
        """EVT_REQUESTED: nothing can have come yet."""
        with self._lock:
            self._open = {**self._living(), event.assoc: self._receiver.clock()}

    def on_released(self, event: Event) -> None:
        """EVT_RELEASED: its sender has sent what it wanted to send."""
        self._note_end(event.assoc, _note_release)

    def on_aborted(self, event: Event) -> None:
        """EVT_ABORTED: by either side, or lost. What its sender wanted to send may not be here."""
        self._note_end(event.assoc, _note_breaking_off)

    def _note_end(self, assoc: Association, note: _Note) -> None:
        with self._lock:
            since = self._open.pop(assoc, None)
            others = [_sending(*each) for each in self._living().items()]
        if since is None:
            return
        try:
            with self._receiver.sessions.begin() as session:
                note(session, _sending(assoc, since), others, self._receiver.clock())
        except SQLAlchemyError as error:  # then the quiet timer closes the studies
            _log.warning("association_end_not_noted", calling_ae=_calling_ae(assoc), trace=logs.places(error))

    def _living(self) -> dict[Association, datetime]:
        """Without those that were rejected, or died before they were established."""
        return {assoc: since for assoc, since in self._open.items() if assoc.is_alive()}


def _note_release(session: Session, ended: _Sending, others: Collection[_Sending], now: datetime) -> None:
    for study in _studies(session, ended, but_not=others):
        if study.broken_off_at is None or study.broken_off_at < ended.since:
            study.released_at = now


def _note_breaking_off(session: Session, ended: _Sending, _: Collection[_Sending], now: datetime) -> None:
    for study in _studies(session, ended, but_not=()):
        study.released_at, study.broken_off_at = None, now


def _studies(session: Session, ended: _Sending, *, but_not: Collection[_Sending]) -> Sequence[Study]:
    """The open studies of which something came on the association and nothing on the others.

    A study that is locked is being written to: it is not quiet, and waiting for it could wait for each other.
    """
    statement = select(Study).where(
        Study.state == StudyState.RECEIVING,
        col(Study.last_received_at) >= ended.since,
        _has_instance(ended.sent),
        ~_has_instance(or_(false(), *(each.sent for each in but_not))),
    )
    return session.exec(statement.order_by(col(Study.id)).with_for_update(skip_locked=True)).all()


def _has_instance(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(Instance.id).join(Series).where(Series.study_id == Study.id, condition).exists()


def _sending(assoc: Association, since: datetime) -> _Sending:
    return _Sending(_calling_ae(assoc), since)


def _calling_ae(assoc: Association) -> str:
    return assoc.requestor.ae_title.strip()
