"""Messages from bytes to answers: read, kept and worked in by one transaction, and only then acknowledged."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import cast

from sqlalchemy import Executable, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from dicom_node import logs
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import AWAY, Sessions
from dicom_node.models import InboundMessage
from integration.acknowledgement import INTERNAL_ERROR, Refused, acknowledge, error, rejection
from integration.consequences import Source, work_in
from integration.er7 import Segment, read_header
from integration.inbound_message import IDENTITY, Received, read_message
from integration.order_book import OrderBook

_IDENTITY_OF = attrgetter(*IDENTITY)

_log = logs.get("hl7")


@dataclass(frozen=True)
class MessageIntake:
    """Takes messages in the order they came."""

    settings: Settings
    sessions: Sessions
    clock: Clock

    def take(self, messages: Sequence[bytes]) -> list[bytes | None]:
        """The acknowledgement of each message, None where none is wanted. What is accepted is on the disk."""
        headers = [read_header(raw) for raw in messages]
        read = [self._read(raw, header) for raw, header in zip(messages, headers, strict=True)]
        kept = iter(self._keep([each for each in read if isinstance(each, Received)]))
        refusals = [each if isinstance(each, Refused) else next(kept) for each in read]
        return [self._answer(header, refused) for header, refused in zip(headers, refusals, strict=True)]

    def _read(self, raw: bytes, header: Segment | None) -> Received | Refused:
        try:
            return read_message(raw, header, self.settings)
        except Refused as refused:
            return refused
        except Exception as fault:  # noqa: BLE001  the sender must get an answer
            return _fault(fault)

    def _keep(self, received: list[Received]) -> list[Refused | None]:
        """Commit all at once; each on its own if that fails, so that a message fails for its own faults only."""
        try:
            with self.sessions.begin() as session:
                _work_in_new(session, received, self.clock())
            return [None] * len(received)
        except AWAY as away:
            _log.error("database_away", error=type(away).__name__)
            return [rejection(INTERNAL_ERROR, "", "the database is away: send again") for _ in received]
        except Exception as fault:  # noqa: BLE001  the sender must get an answer
            if len(received) == 1:
                return [_fault(fault)]
            return [refused for each in received for refused in self._keep([each])]

    def _answer(self, header: Segment | None, refused: Refused | None) -> bytes | None:
        if refused is not None:
            _log.warning("message_refused", code=f"A{refused.letter}", reason=str(refused))
        return acknowledge(header, refused, self.clock())


def _work_in_new(session: Session, received: Sequence[Received], now: datetime) -> None:
    """Insert the messages and work in those that are new: one that came before, byte for byte, changes nothing."""
    if not received:
        return
    connection = session.connection()
    inserted = connection.execute(_insert(connection.dialect.name), [_values(each, now) for each in received])
    ids = {tuple(identity): message_id for message_id, *identity in inserted}
    orders = OrderBook(session, [fact for each in received for fact in each.reading.facts])
    for each in received:
        message_id = ids.pop(_IDENTITY_OF(each), None)
        if message_id is not None:
            work_in(session, each.reading.facts, Source(message_id, now, orders))
    orders.write()


def _values(received: Received, now: datetime) -> dict[str, object]:
    return {
        **dict(zip(IDENTITY, _IDENTITY_OF(received), strict=True)),
        "message_type": received.message_type,
        "raw": received.raw,
        "is_used": bool(received.reading.facts),
        "reason": received.reading.words,
        "received_at": now,
    }


@cache
def _insert(dialect: str) -> Executable:
    """Made once: that costs more than running it."""
    table = inspect(InboundMessage).local_table
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table).on_conflict_do_nothing()
    return cast(Executable, insert.returning(table.c.id, *(table.c[name] for name in IDENTITY)))


def _fault(fault: Exception) -> Refused:
    _log.error("message_failed", trace=logs.places(fault))
    return error(INTERNAL_ERROR, "", "a fault of the receiver: see its log")
