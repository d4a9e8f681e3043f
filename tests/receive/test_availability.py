"""The Instance Availability Notification SCP, over real sockets: what it answers, and what it makes of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from hint_peers import DX, SR, STUDY, Node, associated, dataset, reference, running_node, send
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from rows import all_of
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Declaration
from dicom_node.peers import Completeness
from dicom_node.receive.availability import INSTANCE_AVAILABILITY_NOTIFICATION
from dicom_node.receive.normalized import (
    INVALID_ATTRIBUTE_VALUE,
    INVALID_OBJECT_INSTANCE,
    MISSING_ATTRIBUTE,
    MISSING_ATTRIBUTE_VALUE,
    RESOURCE_LIMITATION,
    SUCCESS,
)

ANNOUNCED = "the PACS announced it (IAN)"
QUIET = "no image for the idle time"


@pytest.fixture
def node(settings: Settings, sessions: Sessions) -> Iterator[Node]:
    with running_node(settings, sessions) as node:
        yield node


def available(
    instance: str, availability: str | None = "ONLINE", sop_class: str | None = DX, retrieve_ae: str | None = "PACS"
) -> Dataset:
    return reference(instance, sop_class, InstanceAvailability=availability, RetrieveAETitle=retrieve_ae)


def announce(assoc: Association, *references: Dataset, notice: str | None = "1.2.3.4", **elements: Any) -> Dataset:
    """N-CREATE as PS3.4 table R.3.2-1 wants it, but for the elements. Returns the response's command set."""
    series = [dataset(SeriesInstanceUID=f"{STUDY}.1", ReferencedSOPSequence=list(references))]
    attributes = {
        "ReferencedPerformedProcedureStepSequence": [],
        "StudyInstanceUID": STUDY,
        "ReferencedSeriesSequence": series,
    }
    ds = dataset(**{**attributes, **elements})
    response, _ = assoc.send_n_create(ds, INSTANCE_AVAILABILITY_NOTIFICATION, notice)
    return response


def test_a_notice_is_in_the_database_when_success_is_answered(node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        assert announce(assoc, available("1.2.1"), available("1.2.2")).Status == SUCCESS
        rows = all_of(node.sessions, Declaration)
    assert [(row.study_instance_uid, row.reason, row.sop_instance_uid) for row in rows] == [
        (STUDY, ANNOUNCED, "1.2.1"),
        (STUDY, ANNOUNCED, "1.2.2"),
    ]


@pytest.mark.parametrize("is_first", [True, False], ids=["notice first", "images first"])
def test_a_study_is_closed_when_all_that_was_announced_is_here(is_first: bool, node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        if is_first:
            announce(assoc, available("1.2.1"), available("1.2.2"))
        send(assoc, "1.2.1")
        assert node.sweep(after_s=2) == []
        send(assoc, "1.2.2")
        if not is_first:
            announce(assoc, available("1.2.1"), available("1.2.2"))
        assert node.sweep(after_s=2) == [f"{ANNOUNCED}; images named: 2, all here"]


def test_notices_of_parts_of_a_study_are_one(node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        announce(assoc, available("1.2.1"))
        announce(assoc, available("1.2.2"), notice="1.2.3.5")
        send(assoc, "1.2.1")
        assert node.sweep(after_s=2) == []
        send(assoc, "1.2.2")
        assert node.sweep(after_s=2) == [f"{ANNOUNCED}; images named: 2, all here"]


def test_a_notice_sent_again_is_success_and_says_nothing_new(node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        for _ in range(2):
            assert announce(assoc, available("1.2.1")).Status == SUCCESS
        send(assoc, "1.2.1")
        assert node.sweep(after_s=2) == [f"{ANNOUNCED}; images named: 1, all here"]
    assert all_of(node.sessions, Declaration) == []


def test_an_image_that_never_comes_leaves_the_study_to_the_quiet_timer(node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        announce(assoc, available("1.2.1"), available("1.2.2"))
        send(assoc, "1.2.1")
        assert node.sweep(after_s=29) == []
        assert node.sweep(after_s=1) == [QUIET]


@pytest.mark.parametrize("availability", ["ONLINE", "NEARLINE", "OFFLINE"])
def test_whatever_can_be_had_is_waited_for(availability: str, node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        announce(assoc, available("1.2.1", availability), available("1.2.2", "UNAVAILABLE"))
    assert [row.sop_instance_uid for row in all_of(node.sessions, Declaration)] == ["1.2.1"]


def test_a_notice_of_our_own_report_says_nothing_of_the_images(node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        assert announce(assoc, available("1.2.9", sop_class=SR)).Status == SUCCESS
        send(assoc, "1.2.1")
        assert node.sweep(after_s=29) == []


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({"StudyInstanceUID": None}, MISSING_ATTRIBUTE),
        ({"StudyInstanceUID": ""}, MISSING_ATTRIBUTE_VALUE),
        ({"StudyInstanceUID": "CANARY^PHI"}, INVALID_ATTRIBUTE_VALUE),
        ({"ReferencedSeriesSequence": None}, MISSING_ATTRIBUTE),
        ({"ReferencedSeriesSequence": []}, MISSING_ATTRIBUTE_VALUE),
        ({"ReferencedSeriesSequence": [dataset(SeriesInstanceUID="1.2")]}, MISSING_ATTRIBUTE),
        ({"ReferencedSeriesSequence": [dataset(ReferencedSOPSequence=[available("1.2")])]}, MISSING_ATTRIBUTE),
        ({"notice": None}, INVALID_OBJECT_INSTANCE),
    ],
)
def test_a_notice_without_what_it_needs_is_refused(elements: dict[str, Any], status: int, node: Node) -> None:
    with associated(node, calling="PACS") as assoc:
        response = announce(assoc, available("1.2.1"), **elements)
        assert response.Status == status
        assert "CANARY" not in response.ErrorComment
    assert all_of(node.sessions, Declaration) == []


@pytest.mark.parametrize(
    ("elements", "status"),
    [
        ({"instance": "CANARY^PHI"}, INVALID_ATTRIBUTE_VALUE),
        ({"instance": "1.2", "sop_class": None}, MISSING_ATTRIBUTE),
        ({"instance": "1.2", "availability": None}, MISSING_ATTRIBUTE),
        ({"instance": "1.2", "availability": "CANARY"}, INVALID_ATTRIBUTE_VALUE),
        ({"instance": "1.2", "retrieve_ae": None}, MISSING_ATTRIBUTE),
    ],
)
def test_a_notice_of_something_that_is_not_named_well_is_refused(
    elements: dict[str, Any], status: int, node: Node
) -> None:
    with associated(node, calling="PACS") as assoc:
        assert announce(assoc, available("1.2.1"), available(**elements)).Status == status
    assert all_of(node.sessions, Declaration) == []


def test_a_database_that_is_away_is_no_success(node: Node) -> None:
    event.listen(node.sessions, "before_commit", _refuse)
    with associated(node, calling="PACS") as assoc:
        assert announce(assoc, available("1.2.1")).Status == RESOURCE_LIMITATION
    event.remove(node.sessions, "before_commit", _refuse)


def _refuse(*_: object) -> None:
    raise OperationalError("COMMIT", {}, Exception("CANARY"))


def test_the_service_is_not_offered_unless_the_site_wants_it(settings: Settings, sessions: Sessions) -> None:
    with running_node(settings, sessions, Completeness()) as node, associated(node) as assoc:
        offered = [context.abstract_syntax for context in assoc.accepted_contexts]
        assert INSTANCE_AVAILABILITY_NOTIFICATION not in offered
