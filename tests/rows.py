"""Rows for tests, made as the house makes them."""

from datetime import datetime
from hashlib import sha256
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

from doubles import NOON
from films import dx_bytes
from sqlmodel import Session, SQLModel, select

from dicom_node import lifecycle
from dicom_node.database import Sessions
from dicom_node.deliveries import ACKNOWLEDGED
from dicom_node.models import Commitment, Delivery, Instance, Job, Pull, Report, Series, Study, Transition
from dicom_node.receive.catalog import Catalog, Files
from dicom_node.receive.header import read_header
from dicom_node.receive.intake import files_of
from dicom_node.states import DeliveryKind
from dicom_node.storage import InstanceStore, StoredFile
from dicom_node.uids import derive_uid

_numbers = count(1)


def add_study(session: Session, **columns: Any) -> Study:
    uid = str(derive_uid("rows", str(next(_numbers))))
    study = Study(study_instance_uid=uid, **{"last_received_at": NOON, "created_at": NOON, **columns})
    lifecycle.begin(session, study, NOON, reason="first instance received")
    return study


def add_job(session: Session, study: Study | None = None, **columns: Any) -> Job:
    study = study or add_study(session)
    job = Job(study_id=study.id, **{"due_at": NOON, "created_at": NOON, **columns})
    lifecycle.begin(session, job, NOON, reason="study complete")
    return job


def add_report(session: Session, job: Job, instance: Instance | None = None, **columns: Any) -> Report:
    instance = instance or add_instance(session, session.get_one(Study, job.study_id))
    report = Report(
        job_id=job.id, instance_id=instance.id, findings="The lungs are clear.", model_name="fake", model_version="1",
        model_digest="d" * 64, token_count=6, cropped_fraction=0.0, seconds=0.1, created_at=NOON,
        **columns,
    )  # fmt: skip
    session.add(report)
    session.flush()
    return report


def add_instance(session: Session, study: Study) -> Instance:
    series = Series(study_id=study.id, series_instance_uid=f"1.2.{next(_numbers)}", modality="DX")
    session.add(series)
    session.flush()
    instance = Instance(
        series_id=series.id, sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1", sop_instance_uid=f"1.3.{next(_numbers)}",
        transfer_syntax_uid="1.2.840.10008.1.2.1", sha256="a" * 64, path="aa/none.dcm", calling_ae="MODALITY",
        received_at=NOON,
    )  # fmt: skip
    session.add(instance)
    session.flush()
    return instance


def add_delivery(session: Session, report: Report | None = None, **columns: Any) -> Delivery:
    report = report or add_report(session, add_job(session, state="reported"))
    columns = {"kind": DeliveryKind.SR, "destination": "pacs", "due_at": NOON, "created_at": NOON, **columns}
    if columns.get("state") in ACKNOWLEDGED:
        columns = {"delivered_at": NOON, **columns}
    delivery = Delivery(report_id=report.id, **columns)
    lifecycle.begin(session, delivery, NOON, reason=f"for {delivery.destination}")
    return delivery


def add_commitment(session: Session, **columns: Any) -> Commitment:
    uid = f"1.2.{next(_numbers)}"
    commitment = Commitment(
        transaction_uid=uid, calling_ae="MODALITY", requestor="127.0.0.1:1", requested='[["1.2","1.3"]]',
        **{"due_at": NOON, "created_at": NOON, **columns},
    )  # fmt: skip
    lifecycle.begin(session, commitment, NOON, reason="MODALITY asks for 1 objects")
    return commitment


def add_pull(session: Session, uid: str = "1.2.3", **columns: Any) -> Pull:
    columns = {"source": "pacs", "study_instance_uid": uid, "due_at": NOON, "created_at": NOON, **columns}
    pull = Pull(**columns)
    lifecycle.begin(session, pull, NOON, reason="found by rule")
    return pull


def receive(
    session: Session, store: InstanceStore | None = None, *, now: datetime = NOON, ae: str = "MODALITY", **elements: Any
) -> Instance:
    """Register a film as the C-STORE handler does; with a store, its file too."""
    part10 = dx_bytes(**elements)
    digest = sha256(part10).hexdigest()
    stored = put(store, part10) if store else StoredFile(f"{digest[:2]}/{digest}.dcm", len(part10))
    header = read_header(BytesIO(part10))
    files = files_of(store) if store else Files(lambda file: Path(file.path).stem, lambda _: True, print)
    registered = Catalog(session.connection(), files).register(header, stored, calling_ae=ae, now=now)
    return session.get_one(Instance, registered.instance_id)


def put(store: InstanceStore, part10: bytes) -> StoredFile:
    """Keep a file as the C-STORE handler does."""
    unfinished = store.begin(b"")
    unfinished.write([part10])
    stored = unfinished.seal()
    unfinished.keep()
    unfinished.discard()
    return stored


def only(sessions: Sessions, model: type[SQLModel]) -> Any:
    """The one row of a table."""
    with sessions() as session:
        return session.exec(select(model)).one()


def all_of(sessions: Sessions, model: type[SQLModel]) -> list[Any]:
    """The rows of a table, oldest first."""
    with sessions() as session:
        return list(session.exec(select(model).order_by(model.id)))  # type: ignore[attr-defined]


def moves_of(sessions: Sessions, kind: str) -> list[tuple[str, str]]:
    """What the timeline says of all rows of a kind: old and new states, oldest first."""
    return [(each.old, each.new) for each in all_of(sessions, Transition) if each.row_kind == kind]
