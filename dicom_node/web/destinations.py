"""The PACS, RIS and sources of the settings, and how it goes with each: what waits, what went well and ill last."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Mapped
from sqlmodel import Session, and_, case, col, func, or_

from dicom_node.config import Settings
from dicom_node.models import Delivery, Pull, Transition
from dicom_node.states import DeliveryState, PullState

LOOK_BACK = timedelta(days=7)
_GOOD, _BAD = "good", "bad"


@dataclass(frozen=True)
class PeerName:
    """Which peer of the settings. A source may be called as a PACS is."""

    kind: str  # pacs, ris or source
    name: str

    @property
    def title(self) -> str:
        return f"{self.kind.upper() if self.kind != 'source' else 'Source'} {self.name}"


@dataclass(frozen=True)
class PeerState:
    """How it goes with one peer."""

    peer: PeerName
    where: str  # AE title, host and port
    waiting: int
    waiting_since: datetime | None
    failed: int  # and not seen by a person yet
    good: Transition | None  # the last in LOOK_BACK that went well, and that went ill
    bad: Transition | None


@dataclass(frozen=True)
class _Kind:
    """The rows that are about peers of one kind."""

    table: type[Delivery] | type[Pull]
    name: Mapped[str]
    waiting: tuple[str, str]  # before and during an attempt
    good: str
    failed: ColumnElement[bool]


_DELIVERIES = _Kind(
    Delivery,
    col(Delivery.destination),
    (DeliveryState.PENDING, DeliveryState.SENDING),
    DeliveryState.DELIVERED,
    and_(col(Delivery.state) == DeliveryState.FAILED, col(Delivery.seen_at).is_(None)),
)
_PULLS = _Kind(
    Pull, col(Pull.source), (PullState.PENDING, PullState.PULLING), PullState.DONE, col(Pull.state) == PullState.FAILED
)


def peers_of(settings: Settings) -> Mapping[PeerName, str]:
    """All of them, and where each is."""
    pacs = {PeerName("pacs", each.name): f"{each.ae_title} at {each.host}:{each.port}" for each in settings.pacs}
    ris = {PeerName("ris", each.name): f"{each.host}:{each.port}" for each in settings.ris}
    sources = {
        PeerName("source", each.name): f"{each.ae_title} at {each.host}:{each.port}" for each in settings.sources
    }
    return {**pacs, **ris, **sources}


def peer_states(session: Session, settings: Settings, now: datetime) -> list[PeerState]:
    """In the order of the settings."""
    deliveries, pulls = (_count(session, kind, now - LOOK_BACK) for kind in (_DELIVERIES, _PULLS))
    return [
        _state(peer, where, pulls if peer.kind == "source" else deliveries)
        for peer, where in peers_of(settings).items()
    ]


@dataclass(frozen=True)
class _Counted:
    """What the rows of one kind say, by the peer's name."""

    waiting: Mapping[str, tuple[int, datetime | None]]
    failed: Mapping[str, int]
    last: Mapping[tuple[str, str], Transition]  # the second: how it went


def _state(peer: PeerName, where: str, counted: _Counted) -> PeerState:
    name = peer.name
    waiting, since = counted.waiting.get(name, (0, None))
    good, bad = (counted.last.get((name, how)) for how in (_GOOD, _BAD))
    return PeerState(peer, where, waiting, since, counted.failed.get(name, 0), good, bad)


def _count(session: Session, kind: _Kind, since: datetime) -> _Counted:
    created_at = func.min(col(kind.table.created_at))
    waiting = sqlalchemy.select(kind.name, func.count(), created_at).where(col(kind.table.state).in_(kind.waiting))
    failed = sqlalchemy.select(kind.name, func.count()).where(kind.failed).group_by(kind.name)
    return _Counted(
        {name: (count, first) for name, count, first in session.execute(waiting.group_by(kind.name))},
        {name: count for name, count in session.execute(failed)},
        _last(session, kind, since),
    )


def _last(session: Session, kind: _Kind, since: datetime) -> dict[tuple[str, str], Transition]:
    """What ended an attempt last, well and ill."""
    new, old = col(Transition.new), col(Transition.old)
    is_good, is_bad = new == kind.good, and_(old == kind.waiting[1], new.in_((kind.waiting[0], "failed")))
    outcome = case((is_good, _GOOD), else_=_BAD)
    last = (
        sqlalchemy.select(kind.name, outcome, func.max(Transition.id))
        .join(Transition, col(Transition.row_id) == col(kind.table.id))
        .where(col(Transition.row_kind) == kind.table.__tablename__, col(Transition.at) >= since, or_(is_good, is_bad))
        .group_by(kind.name, outcome)
    )
    return {(name, how): session.get_one(Transition, move_id) for name, how, move_id in session.execute(last).all()}
