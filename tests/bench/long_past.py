"""The rows of a node that has drafted for years: studies that ended well, were skipped or failed, and their story."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import Engine, func, insert, select, text
from sqlmodel import SQLModel

from dicom_node.models import (
    Delivery,
    FinalReport,
    InboundMessage,
    Instance,
    Job,
    Order,
    Report,
    Series,
    Study,
    Transition,
)

_AT_ONCE = 5_000  # studies a transaction
_YEARS = timedelta(days=730)
_NAMES = ("Garcia", "Hansen", "Ivanov", "Kowalski", "Müller", "Nguyen", "Rossi", "Smith", "Yamada")
_FINDINGS = "The lungs are clear. There is no effusion or pneumothorax. The heart is of normal size. "
_PARENTS_FIRST = (
    Study, Series, Instance, Job, Report, Delivery, InboundMessage, Order, FinalReport, Transition,
)  # fmt: skip

Rows = Mapping[type[SQLModel], list[dict[str, Any]]]


def live_long(engine: Engine, studies: int, now: datetime) -> None:
    """Fill an empty database with two years of them, the last one now, and say how it goes on."""
    chance = Random(1)  # the same past each time
    for first in range(1, studies + 1, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, studies + 1))
        rows: Rows = defaultdict(list)
        for number in numbers:
            at = now - _YEARS * (1 - number / studies)
            for row in _story(number, at, chance):
                rows[type(row)].append(_columns(row))
        with engine.begin() as connection:
            for kind in _PARENTS_FIRST:
                connection.execute(insert(kind), rows[kind])
        print(f"{numbers[-1]} of {studies} studies", flush=True)
    _know_the_tables(engine)


def _columns(row: SQLModel) -> dict[str, Any]:
    """Without a number where the database is to give one."""
    return {key: value for key, value in row.model_dump().items() if (key, value) != ("id", None)}


def _story(number: int, at: datetime, chance: Random) -> Iterator[SQLModel]:
    """A chest film in two views, ordered, drafted (nine of ten), sent to a PACS and a RIS, and signed."""
    uid, name = f"1.2.3.{number}", f"{chance.choice(_NAMES)}^{number}"
    own: dict[str, Any] = {"study_instance_uid": uid, "accession_number": f"ACC{number}", "created_at": at}
    patient = {"patient_id": f"P{number % 90_000}", "patient_name": name, "patient_name_folded": name.lower()}
    yield Study(id=number, state="complete", last_received_at=at, **own, **patient)
    yield Series(id=number, study_id=number, series_instance_uid=f"{uid}.1", modality="DX")
    for instance_id, view in ((2 * number, "PA"), (2 * number + 1, "LL")):
        yield Instance(
            id=instance_id, series_id=number, sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", size_bytes=15_000_000,
            sop_instance_uid=f"{uid}.1.{view == 'PA':d}", transfer_syntax_uid="1.2.840.10008.1.2.1", sha256="a" * 64,
            path=f"{number % 256:02x}/{instance_id}.dcm", calling_ae="ROOM1", received_at=at, view=view,
        )  # fmt: skip
    yield InboundMessage(
        id=number, sending_application="RIS", sending_facility="HOSP", control_id=f"M{number}", message_type="ORM^O01",
        raw=b"MSH|" * 200, sha256="b" * 64, is_used=True, reason="an order", received_at=at,
    )  # fmt: skip
    numbers = {"placer_order_number": f"P{number}^RIS", "filler_order_number": f"F{number}^RIS"}
    yield Order(id=number, message_id=number, updated_at=at, **own, **numbers)
    yield FinalReport(id=number, message_id=number, status="F", text=_FINDINGS * 4, **own)
    state = chance.choices(("done", "skipped", "failed"), (90, 9, 1))[0]
    seen_at = at if state == "failed" else None
    yield Job(id=number, study_id=number, state=state, attempts=1, due_at=at, seen_at=seen_at, created_at=at)
    yield from _moves("study", number, at, "receiving", "complete")
    yield from _moves("job", number, at, "queued", "inferring", *(("reported",) if state == "done" else ()), state)
    if state == "done":
        yield from _draft(number, at)


def _draft(number: int, at: datetime) -> Iterator[SQLModel]:
    yield Report(
        id=number, job_id=number, instance_id=2 * number, findings=_FINDINGS, model_name="LLaVA-Rad", model_version="1",
        model_digest="d" * 64, token_count=60, cropped_fraction=0.0, seconds=2.0, created_at=at,
    )  # fmt: skip
    for delivery_id, kind, name in ((2 * number, "sr", "pacs"), (2 * number + 1, "oru", "ris")):
        yield Delivery(
            id=delivery_id, report_id=number, kind=kind, destination=name, state="delivered", attempts=1, due_at=at,
            payload=bytes(2_000), identifier=f"1.2.4.{delivery_id}", delivered_at=at, created_at=at,
        )  # fmt: skip
        yield from _moves("delivery", delivery_id, at, "pending", "sending", "delivered")


def _moves(kind: str, row_id: int, at: datetime, *states: str) -> Iterator[Transition]:
    for old, new in zip(("", *states), states, strict=False):
        yield Transition(row_kind=kind, row_id=row_id, old=old, new=new, at=at, reason="as it went")


def _know_the_tables(engine: Engine) -> None:
    """What PostgreSQL knows by itself a minute later: how many rows there are, and where their numbers go on."""
    if engine.dialect.name != "postgresql":
        return
    with engine.begin() as connection:
        for kind in _PARENTS_FIRST:
            table = kind.__table__  # type: ignore[attr-defined]  # every table has one
            last = connection.execute(select(func.max(table.c.id))).scalar_one()
            sequence = {"table": f'"{table.name}"', "last": last}
            connection.execute(text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :last)"), sequence)
        connection.execute(text("ANALYZE"))
