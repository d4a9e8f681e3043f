"""The Modality Performed Procedure Step SCP, over real sockets: what it answers, and what it makes of it."""

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from doubles import NOON
from hint_peers import DX, SR, STUDY, Node, associated, dataset, reference, running_node, send
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_SET
from rows import all_of, only
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Declaration, PerformedStep
from dicom_node.peers import Completeness
from dicom_node.receive.mpps import MODALITY_PERFORMED_PROCEDURE_STEP
from dicom_node.receive.normalized import (
    DUPLICATE_SOP_INSTANCE,
    INVALID_ATTRIBUTE_VALUE,
    INVALID_OBJECT_INSTANCE,
    MISSING_ATTRIBUTE,
    MISSING_ATTRIBUTE_VALUE,
    NO_SUCH_SOP_CLASS,
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
)

STEP = "1.2.3.4"
DONE = "the modality said completed (MPPS)"
QUIET = "no image for the idle time"


@pytest.fixture
def node(settings: Settings, sessions: Sessions) -> Iterator[Node]:
    with running_node(settings, sessions) as node:
        yield node


def create(assoc: Association, step: str | None = STEP, study: Any = STUDY, **elements: Any) -> Dataset:
    """N-CREATE as PS3.4 table F.7.2-1 wants it, but for the elements. Returns the response's command set."""
    scheduled = [dataset(StudyInstanceUID=study, AccessionNumber="CANARY-ACC")]
    attributes = {
        "ScheduledStepAttributesSequence": scheduled,
        "PatientName": "CANARY^PHI",
        "PatientID": "CANARY-ID",
        "PerformedProcedureStepID": "1",
        "PerformedStationAETitle": "MODALITY",
        "PerformedProcedureStepStartDate": "20260301",
        "PerformedProcedureStepStartTime": "120000",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "Modality": "DX",
        "PerformedSeriesSequence": [],
    }
    ds = dataset(**{**attributes, **elements})
    response, _ = assoc.send_n_create(ds, MODALITY_PERFORMED_PROCEDURE_STEP, step)
    return response


def update(assoc: Association, status: str | None = None, step: str = STEP, **elements: Any) -> Dataset:
    ds = dataset(PerformedProcedureStepStatus=status, **elements)
    response, _ = assoc.send_n_set(ds, MODALITY_PERFORMED_PROCEDURE_STEP, step)
    return response


def images(*instances: str, sop_class: str = DX) -> list[Dataset]:
    """A Performed Series Sequence that made these."""
    references = [reference(instance, sop_class) for instance in instances]
    return [dataset(SeriesInstanceUID=f"{STUDY}.1", ProtocolName="chest", ReferencedImageSequence=references)]


def test_a_step_is_a_row_when_success_is_answered(node: Node) -> None:
    with associated(node) as assoc:
        assert create(assoc).Status == SUCCESS
        step = only(node.sessions, PerformedStep)
        assert (step.sop_instance_uid, step.study_instance_uid, step.created_at) == (STEP, STUDY, NOON)
        assert (step.status, step.instances) == ("IN PROGRESS", "{}")
        assert update(assoc, PerformedSeriesSequence=images("1.2.1")).Status == SUCCESS
        step = only(node.sessions, PerformedStep)
        assert (step.status, json.loads(step.instances)) == ("IN PROGRESS", {"1.2.1": DX})
        assert update(assoc, "DISCONTINUED").Status == SUCCESS
        step = only(node.sessions, PerformedStep)
        assert (step.status, json.loads(step.instances)) == ("DISCONTINUED", {"1.2.1": DX})


def test_images_before_the_step_is_completed(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        send(assoc, "1.2.1")
        send(assoc, "1.2.2")
        assert node.sweep(after_s=2) == []
        assert update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.1", "1.2.2")).Status == SUCCESS
        assert node.sweep() == [f"{DONE}; images named: 2, all here"]


def test_images_after_the_step_is_completed(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.1", "1.2.2"))
        send(assoc, "1.2.1")
        assert node.sweep(after_s=2) == []
        send(assoc, "1.2.2")
        assert node.sweep(after_s=2) == [f"{DONE}; images named: 2, all here"]


def test_a_restart_between_the_step_and_its_images_forgets_nothing(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.1"))
    node.restart()
    with associated(node) as assoc:
        send(assoc, "1.2.1")
    assert node.sweep(after_s=2) == [f"{DONE}; images named: 1, all here"]


def test_an_image_that_never_comes_leaves_the_study_to_the_quiet_timer(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        send(assoc, "1.2.1")
        update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.1", "1.2.2"))
        assert node.sweep(after_s=29) == []
        assert node.sweep(after_s=1) == [QUIET]


def test_what_was_listed_before_counts_when_the_last_update_lists_nothing(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc, PerformedSeriesSequence=images("1.2.1"))
        update(assoc, "COMPLETED")
        assert {each.sop_instance_uid for each in all_of(node.sessions, Declaration)} == {"1.2.1"}


def test_a_step_that_lists_nothing_completes_the_study_as_it_is(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        send(assoc, "1.2.1")
        update(assoc, "COMPLETED")
        assert node.sweep(after_s=2) == [DONE]


def test_only_radiographs_are_waited_for(node: Node) -> None:
    made = images("1.2.1")
    made[0].ReferencedNonImageCompositeSOPInstanceSequence = [reference("1.2.9", SR)]
    with associated(node) as assoc:
        create(assoc)
        send(assoc, "1.2.1")
        update(assoc, "COMPLETED", PerformedSeriesSequence=made)
        assert node.sweep(after_s=2) == [f"{DONE}; images named: 1, all here"]


def test_a_step_that_made_other_things_only_says_nothing_of_the_images(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        send(assoc, "1.2.1")
        update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.9", sop_class=SR))
        assert node.sweep(after_s=29) == []


def test_a_discontinued_step_completes_nothing(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        send(assoc, "1.2.1")
        update(assoc, "DISCONTINUED", PerformedSeriesSequence=images("1.2.1"))
        assert node.sweep(after_s=29) == []
        assert node.sweep(after_s=1) == [QUIET]


def test_a_study_waits_for_every_step_of_it(node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        create(assoc, "1.2.3.5")
        send(assoc, "1.2.1")
        send(assoc, "1.2.2")
        update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.1"))
        assert node.sweep(after_s=2) == []
        update(assoc, "COMPLETED", "1.2.3.5", PerformedSeriesSequence=images("1.2.2"))
        assert node.sweep() == [f"{DONE}; images named: 2, all here"]


def test_grouped_procedures_are_a_step_in_each_study(node: Node) -> None:
    other = f"{STUDY}.2"
    grouped = [dataset(StudyInstanceUID=study) for study in (STUDY, other, STUDY)]
    with associated(node) as assoc:
        create(assoc, ScheduledStepAttributesSequence=grouped)
        send(assoc, "1.2.1")
        send(assoc, "1.2.2", study=other)
        update(assoc, "COMPLETED", PerformedSeriesSequence=images("1.2.1", "1.2.2"))
        assert node.sweep(after_s=2) == [f"{DONE}; images named: 2, all here"] * 2
    assert {step.status for step in all_of(node.sessions, PerformedStep)} == {"COMPLETED"}


def test_the_same_step_is_not_created_twice(node: Node) -> None:
    with associated(node) as assoc:
        assert [create(assoc).Status, create(assoc).Status] == [SUCCESS, DUPLICATE_SOP_INSTANCE]
        assert create(assoc, study="1.2.9").Status == DUPLICATE_SOP_INSTANCE
    assert only(node.sessions, PerformedStep).study_instance_uid == STUDY


def test_a_step_that_was_not_created_is_not_set(node: Node) -> None:
    with associated(node) as assoc:
        assert update(assoc, "COMPLETED").Status == NO_SUCH_SOP_INSTANCE


@pytest.mark.parametrize("end", ["COMPLETED", "DISCONTINUED"])
@pytest.mark.parametrize("then", ["IN PROGRESS", "COMPLETED", "DISCONTINUED"])
def test_a_step_that_has_ended_may_no_longer_be_updated(end: str, then: str, node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        update(assoc, end)
        response = update(assoc, then, PerformedSeriesSequence=images("1.2.1"))
        assert (response.Status, response.ErrorID) == (PROCESSING_FAILURE, 0xA710)
        assert response.ErrorComment == "Performed Procedure Step Object may no longer be updated"
    step = only(node.sessions, PerformedStep)
    assert (step.status, step.instances) == (end, "{}")


NO_CLASS = dataset(ReferencedSOPInstanceUID="1.2.1")
NO_UID = [dataset(ReferencedImageSequence=[reference("CANARY^PHI")])]


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({"PerformedProcedureStepID": None}, MISSING_ATTRIBUTE),
        ({"PerformedStationAETitle": None}, MISSING_ATTRIBUTE),
        ({"PerformedProcedureStepStartDate": None}, MISSING_ATTRIBUTE),
        ({"PerformedProcedureStepStartTime": None}, MISSING_ATTRIBUTE),
        ({"PerformedProcedureStepStatus": None}, MISSING_ATTRIBUTE),
        ({"Modality": None}, MISSING_ATTRIBUTE),
        ({"Modality": ""}, MISSING_ATTRIBUTE_VALUE),
        ({"ScheduledStepAttributesSequence": None}, MISSING_ATTRIBUTE),
        ({"ScheduledStepAttributesSequence": []}, MISSING_ATTRIBUTE_VALUE),
        ({"ScheduledStepAttributesSequence": [dataset(AccessionNumber="CANARY-ACC")]}, MISSING_ATTRIBUTE),
        ({"study": ""}, MISSING_ATTRIBUTE_VALUE),
        ({"study": "1.2." + "3" * 61}, INVALID_ATTRIBUTE_VALUE),
        ({"study": "CANARY^PHI"}, INVALID_ATTRIBUTE_VALUE),
        ({"study": "1.2\\1.3"}, INVALID_ATTRIBUTE_VALUE),
        ({"PerformedProcedureStepStatus": "COMPLETED"}, INVALID_ATTRIBUTE_VALUE),
        ({"PerformedProcedureStepStatus": "CANARY"}, INVALID_ATTRIBUTE_VALUE),
        ({"PerformedSeriesSequence": [dataset(ReferencedImageSequence=[NO_CLASS])]}, MISSING_ATTRIBUTE),
        ({"PerformedSeriesSequence": NO_UID}, INVALID_ATTRIBUTE_VALUE),
        ({"step": None}, INVALID_OBJECT_INSTANCE),
    ],
)
def test_a_step_without_what_it_needs_is_refused(elements: dict[str, Any], status: int, node: Node) -> None:
    with associated(node) as assoc:
        response = create(assoc, **elements)
        assert response.Status == status
        assert response.ErrorComment
        assert "CANARY" not in response.ErrorComment
        assert all_of(node.sessions, PerformedStep) == []
        assert create(assoc).Status == SUCCESS


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({"status": "CANARY"}, INVALID_ATTRIBUTE_VALUE),
        ({"status": ""}, MISSING_ATTRIBUTE_VALUE),
        ({"status": "COMPLETED", "PerformedSeriesSequence": NO_UID}, INVALID_ATTRIBUTE_VALUE),
    ],
)
def test_an_update_that_cannot_be_used_changes_nothing(elements: dict[str, Any], status: int, node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        assert update(assoc, **elements).Status == status
    assert only(node.sessions, PerformedStep).status == "IN PROGRESS"
    assert all_of(node.sessions, Declaration) == []


def test_a_database_that_is_away_is_no_success(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    event.listen(node.sessions, "before_commit", _refuse)
    with associated(node) as assoc:
        assert create(assoc).Status == RESOURCE_LIMITATION
        event.remove(node.sessions, "before_commit", _refuse)
        assert create(assoc).Status == SUCCESS
    assert '"status": "0213"' in caplog.text


def _refuse(*_: object) -> None:
    raise OperationalError("COMMIT", {}, Exception("CANARY"))


SERIES_OF_GARBAGE = b"\x40\0\x40\x03SQ\0\0\xff\xff\xff\xffCANARY^PHI"


@pytest.mark.parametrize(
    ("encoded", "status"),
    [(b"\0\0\0\0", MISSING_ATTRIBUTE), (b"CANARY^PHI", PROCESSING_FAILURE), (SERIES_OF_GARBAGE, PROCESSING_FAILURE)],
    ids=["nothing", "cut short", "no item"],
)
def test_a_data_set_that_cannot_be_read_is_no_success(encoded: bytes, status: int, node: Node) -> None:
    with associated(node) as assoc:
        create(assoc)
        assert update_raw(assoc, encoded) == status
        assert update(assoc, "COMPLETED").Status == SUCCESS


def update_raw(assoc: Association, encoded: bytes) -> int:
    """N-SET of any bytes."""
    request = N_SET()
    request.MessageID = 1
    request.RequestedSOPClassUID, request.RequestedSOPInstanceUID = MODALITY_PERFORMED_PROCEDURE_STEP, STEP
    request.ModificationList = BytesIO(encoded)
    (context,) = (each for each in assoc.accepted_contexts if each.abstract_syntax == MODALITY_PERFORMED_PROCEDURE_STEP)
    assoc._reactor_checkpoint.clear()  # as pynetdicom's send_n_set: or its thread takes the answer
    wait_until(lambda: assoc._is_paused, "the association's thread pauses")
    assoc.dimse.send_msg(request, context.context_id)
    _, response = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    return int(response.Status)


def test_a_request_in_another_service_s_context_is_refused(node: Node) -> None:
    with associated(node) as assoc:
        for context in assoc.accepted_contexts:
            if context.abstract_syntax == SR:
                context.abstract_syntax = MODALITY_PERFORMED_PROCEDURE_STEP
            elif context.abstract_syntax == MODALITY_PERFORMED_PROCEDURE_STEP:
                context.abstract_syntax = SR
        assert create(assoc).Status == NO_SUCH_SOP_CLASS


def test_without_the_rule_the_service_is_not_offered(settings: Settings, sessions: Sessions) -> None:
    with running_node(settings, sessions, Completeness(on_mpps=False)) as node, associated(node) as assoc:
        offered = [context.abstract_syntax for context in assoc.accepted_contexts]
        assert MODALITY_PERFORMED_PROCEDURE_STEP not in offered
