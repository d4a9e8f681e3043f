"""Modality Performed Procedure Step SCP (PS3.4 F.7): a modality says that it works on a study, and that it is done."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydicom.dataset import Dataset
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.models import PerformedStep, StepStatus
from dicom_node.receive.catalog import RADIOGRAPH_SOP_CLASSES
from dicom_node.receive.declarations import declare_complete
from dicom_node.receive.intake import Receiver
from dicom_node.receive.normalized import (
    DUPLICATE_SOP_INSTANCE,
    INVALID_ATTRIBUTE_VALUE,
    MISSING_ATTRIBUTE,
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
    Refused,
    Request,
    items,
    some_items,
    text,
    uid,
)

MODALITY_PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"  # PS3.4 F.7.3

# Of type 1 in N-CREATE (PS3.4 table F.7.2-1), beside the sequence of scheduled steps
_REQUIRED = (
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "Modality",
)
_REFERENCES = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
_NO_LONGER_UPDATED = 0xA710  # Error ID (PS3.4 table F.7.2-2)

_log = logs.get("mpps")


def create_step(receiver: Receiver, request: Request) -> None:
    """N-CREATE: the modality has begun. Durable when it returns; raises Refused."""
    ds = request.attributes
    for keyword in _REQUIRED:
        text(ds, keyword)
    if _status(ds) != StepStatus.IN_PROGRESS:
        raise Refused(INVALID_ATTRIBUTE_VALUE, "PerformedProcedureStepStatus is not IN PROGRESS")
    studies = {uid(step, "StudyInstanceUID") for step in some_items(ds, "ScheduledStepAttributesSequence")}
    _insert(receiver, request.sop_instance_uid, studies, _instances(ds))
    _log.info("step_begun", calling_ae=request.calling_ae)


def set_step(receiver: Receiver, request: Request) -> None:
    """N-SET: what the modality has made so far, or that it is done. Durable when it returns; raises Refused."""
    if not request.attributes:
        raise Refused(MISSING_ATTRIBUTE, "the Modification List is empty")
    with receiver.sessions.begin() as session:
        steps = _steps(session, request.sop_instance_uid)
        if not steps:
            raise Refused(NO_SUCH_SOP_INSTANCE, "no such Performed Procedure Step")
        for step in steps:
            _update(session, step, request.attributes, receiver.clock())
    _log.info("step_set", calling_ae=request.calling_ae, state=steps[0].status)


def _insert(receiver: Receiver, step_uid: str, studies: Iterable[str], instances: str) -> None:
    with receiver.sessions.begin() as session:
        if _steps(session, step_uid):
            raise Refused(DUPLICATE_SOP_INSTANCE, "the Performed Procedure Step is here already")
        now = receiver.clock()
        session.add_all(
            PerformedStep(sop_instance_uid=step_uid, study_instance_uid=study, instances=instances, created_at=now)
            for study in sorted(studies)
        )


def _steps(session: Session, step_uid: str) -> Sequence[PerformedStep]:
    """The step's rows, locked: one for each study."""
    statement = select(PerformedStep).where(PerformedStep.sop_instance_uid == step_uid)
    return session.exec(statement.order_by(col(PerformedStep.id)).with_for_update()).all()


def _update(session: Session, step: PerformedStep, ds: Dataset, now: datetime) -> None:
    if step.status != StepStatus.IN_PROGRESS:
        words = "Performed Procedure Step Object may no longer be updated"
        raise Refused(PROCESSING_FAILURE, words, error_id=_NO_LONGER_UPDATED)
    if "PerformedSeriesSequence" in ds:  # it comes whole, or not at all (PS3.4 F.7.2.2.2)
        step.instances = _instances(ds)
    if "PerformedProcedureStepStatus" in ds:
        step.status = _status(ds)
    session.add(step)
    if step.status == StepStatus.COMPLETED:
        _declare(session, step, now)


def _declare(session: Session, step: PerformedStep, now: datetime) -> None:
    """The study is complete when the step's radiographs are here. Of a step that made other things only, it is not."""
    made = json.loads(step.instances)
    radiographs = [instance for instance, sop_class in made.items() if sop_class in RADIOGRAPH_SOP_CLASSES]
    if made and not radiographs:
        return
    declare_complete(
        session,
        study_instance_uid=step.study_instance_uid,
        now=now,
        reason="the modality said completed (MPPS)",
        instances=radiographs,
    )


def _status(ds: Dataset) -> StepStatus:
    try:
        return StepStatus(text(ds, "PerformedProcedureStepStatus"))
    except ValueError as error:
        words = f"PerformedProcedureStepStatus is not one of {', '.join(StepStatus)}"
        raise Refused(INVALID_ATTRIBUTE_VALUE, words) from error


def _instances(ds: Dataset) -> str:
    """JSON of the objects in the Performed Series Sequence: SOP Class UID by SOP Instance UID."""
    references = (
        reference
        for series in items(ds, "PerformedSeriesSequence")
        for keyword in _REFERENCES
        for reference in items(series, keyword)
    )
    return json.dumps(
        {uid(each, "ReferencedSOPInstanceUID"): uid(each, "ReferencedSOPClassUID") for each in references}
    )
