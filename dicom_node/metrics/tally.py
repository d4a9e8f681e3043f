"""Counters that read each row of a table once, however large the table is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import Mapped
from sqlmodel import Session

from dicom_node.clock import CLOCKS_DIFFER

# A row may become visible after one with a higher id. No transaction of ours lasts so long.
_SETTLED_AFTER = timedelta(seconds=10)


@dataclass(frozen=True)
class Sum:
    """Of the rows that bear the same labels."""

    count: int = 0
    total: float = 0.0


class Tally:
    """What was added to a table since the first look, by labels. For one thread at a time.

    It begins at nothing with the process, as a counter of Prometheus may.
    """

    def __init__(
        self,
        row_id: Mapped[int | None],
        at: Mapped[datetime],
        *,
        labels: Sequence[Mapped[str]] = (),
        measure: Mapped[float] | Mapped[int] | None = None,
        where: Sequence[ColumnElement[bool]] = (),
    ) -> None:
        """at: when a row was added. measure: what is summed up of each."""
        self._row_id = row_id
        self._at = at
        total = literal(0) if measure is None else func.coalesce(func.sum(measure), 0)
        self._new = select(*labels, func.count(row_id), total).where(*where).group_by(*labels)
        self._after: int | None = None
        self._sums: dict[tuple[str, ...], Sum] = {}

    def look(self, session: Session, now: datetime) -> Mapping[tuple[str, ...], Sum]:
        """The sums so far."""
        until = self._settled_until(session, now)
        if self._after is not None:
            new = self._new.where(self._row_id > self._after, self._row_id <= until)
            for *labels, count, total in session.execute(new):
                self._add(tuple(labels), count, float(total))
        self._after = until
        return self._sums

    def _settled_until(self, session: Session, now: datetime) -> int:
        """The highest id of those below which no row is still to come."""
        after = self._after or 0
        recent = (self._row_id > after, self._at > now - _SETTLED_AFTER, self._at < now + CLOCKS_DIFFER)
        unsettled = session.execute(select(func.min(self._row_id)).where(*recent)).scalar()
        settled = select(func.max(self._row_id)).where(self._row_id > after)
        if unsettled is not None:
            settled = settled.where(self._row_id < unsettled)
        return session.execute(settled).scalar() or after

    def _add(self, labels: tuple[str, ...], count: int, total: float) -> None:
        before = self._sums.get(labels, Sum())
        self._sums[labels] = Sum(before.count + count, before.total + total)
