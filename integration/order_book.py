"""Orders as rows: a message makes one or changes the one it names.

Few statements, made once, below the ORM: making and interpreting one costs more than running it, and orders come by the
hundred a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import BindParameter, ColumnElement, Select, Table, bindparam, inspect, null, or_, select, update
from sqlmodel import Session

from dicom_node.models import Job, Order, Study
from dicom_node.orders import ROUTINE
from dicom_node.patients import identifiers_to_json
from dicom_node.states import JobState
from integration.order_message import OrderFacts
from integration.report_message import FinalFacts

_ORDER, _STUDY, _JOB = (cast(Table, inspect(model).local_table) for model in (Order, Study, Job))
_FILLER = _ORDER.c.filler_order_number == bindparam("filler")
_PLACER = _ORDER.c.placer_order_number == bindparam("placer")


def _newest(condition: ColumnElement[bool]) -> Select[Any]:
    columns = (_ORDER.c.id, _ORDER.c.accession_number, _ORDER.c.study_instance_uid, _ORDER.c.patient_identifiers)
    found = select(*columns).where(condition)
    return found.order_by(_FILLER.desc(), _ORDER.c.id.desc()).limit(1)


def _about(table: Table) -> ColumnElement[bool]:
    """An empty number is given as None, which equals nothing."""
    return or_(
        table.c.study_instance_uid == bindparam("study", type_=_STUDY.c.study_instance_uid.type),
        table.c.accession_number == bindparam("accession", type_=_STUDY.c.accession_number.type),
    )


# By the filler's number, else by the placer's, under which there may be several, else by what images say.
_BY_BOTH = _newest(or_(_FILLER, _PLACER & (_ORDER.c.filler_order_number == "")))
_BY_FILLER = _newest(_FILLER)
_BY_PLACER = _newest(_PLACER)
_BY_IMAGES = _newest(_about(_ORDER))
_NAMED: BindParameter[str] = bindparam("numbers", expanding=True)
_NUMBERS = select(_ORDER.c.placer_order_number, _ORDER.c.filler_order_number).where(
    _ORDER.c.placer_order_number.in_(_NAMED) | _ORDER.c.filler_order_number.in_(_NAMED)
)
_INSERT = _ORDER.insert()
_HURRY = (
    update(_JOB)
    .where(_JOB.c.state == JobState.QUEUED, _JOB.c.priority > bindparam("urgency"))
    .where(_JOB.c.study_id.in_(select(_STUDY.c.id).where(_about(_STUDY))))
    .values(priority=bindparam("urgency"), rung_at=null())  # the broker has it among the others: ring anew
)


@dataclass(frozen=True)
class KnownOrder:
    """Which order a message names, by what its images are found, and whose it is."""

    order_id: int
    accession_number: str
    study_instance_uid: str
    patient_identifiers: str  # JSON of `patients.identifiers_to_json`


class OrderBook:
    """The orders of a group of messages. Those that nobody has heard of, most of them, are written all at once."""

    def __init__(self, session: Session, facts: Iterable[object]) -> None:
        """facts: of all messages of the group."""
        self._connection = session.connection()
        self._unheard = self._numbers_without_order([each for each in facts if isinstance(each, OrderFacts)])
        self._unwritten: list[dict[str, Any]] = []

    def find(self, facts: OrderFacts | FinalFacts) -> KnownOrder | None:
        """The order that a message names; None if it was not heard of."""
        self.write()
        filler, placer = facts.filler_order_number, facts.placer_order_number
        statement = (_BY_BOTH if placer else _BY_FILLER) if filler else (_BY_PLACER if placer else _BY_IMAGES)
        named = {"filler": filler, "placer": placer, **_images(facts, None)}
        found = self._connection.execute(statement, named).one_or_none()
        return None if found is None else KnownOrder(*found)

    def keep(self, facts: OrderFacts, *, message_id: int, now: datetime) -> None:
        """Make the order, or change it: what the message does not say stays as it was."""
        values = _values(facts, message_id, now)
        known = None if self._is_first_of(facts) else self.find(facts)
        if known is None:
            self._unwritten.append(values)
        else:
            self._change(known, facts, values)
        if facts.priority is not None and facts.priority < ROUTINE and not facts.is_cancelled:
            self._connection.execute(_HURRY, {"urgency": facts.priority, **_images(facts, known)})

    def write(self) -> None:
        """To be called when all messages are kept."""
        if self._unwritten:
            self._connection.execute(_INSERT, self._unwritten)
        self._unwritten = []

    def _numbers_without_order(self, facts: Sequence[OrderFacts]) -> set[str]:
        numbers = {number for each in facts for number in _numbers(each)}
        if not numbers:
            return numbers
        found = self._connection.execute(_NUMBERS, {"numbers": list(numbers)})
        return numbers.difference(*found)

    def _is_first_of(self, facts: OrderFacts) -> bool:
        """No order has any of its numbers."""
        numbers = _numbers(facts)
        if not numbers or not numbers <= self._unheard:
            return False
        self._unheard -= numbers
        return True

    def _change(self, known: KnownOrder, facts: OrderFacts, values: dict[str, Any]) -> None:
        unsaid = {"created_at"} | {name for name, value in vars(facts).items() if value in ("", None)}
        said = {name: value for name, value in values.items() if name not in unsaid}
        self._connection.execute(_ORDER.update().where(_ORDER.c.id == known.order_id), said)


def _values(facts: OrderFacts, message_id: int, now: datetime) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(facts).items() if name != "patient"},
        "priority": ROUTINE if facts.priority is None else facts.priority,
        "patient_identifiers": identifiers_to_json(facts.patient),
        "message_id": message_id,
        "updated_at": now,
        "created_at": now,
    }


def _numbers(facts: OrderFacts) -> set[str]:
    return {facts.placer_order_number, facts.filler_order_number} - {""}


def _images(facts: OrderFacts | FinalFacts, known: KnownOrder | None) -> dict[str, str | None]:
    """By what the images of an order are found: as the message says, else as was known."""
    study = facts.study_instance_uid or (known and known.study_instance_uid)
    accession = facts.accession_number or (known and known.accession_number)
    return {"study": study or None, "accession": accession or None}
