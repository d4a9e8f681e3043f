"""Studies that are complete because their sender released the association, over real sockets."""

import threading
from collections.abc import Callable, Iterator

import pytest
from doubles import NOON
from films import dx_bytes, make_dx
from hint_peers import STUDY, Node, abort, associate, associated, release, running_node, send
from pynetdicom.association import Association
from raw_peer import ACCEPTED, RawPeer, store
from rows import all_of, only
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from waiting import wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Study
from dicom_node.peers import Completeness

RULES = Completeness(on_release=True)
RELEASED = "the association that sent it was released"
QUIET = "no image for the idle time"
OTHER_STUDY = f"{STUDY}.2"


@pytest.fixture
def node(settings: Settings, sessions: Sessions) -> Iterator[Node]:
    with running_node(settings, sessions, RULES) as node:
        yield node


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_a_released_study_is_closed_when_it_has_settled(path: str, settings: Settings, sessions: Sessions) -> None:
    with running_node(settings.model_copy(update={"receive_path": path}), sessions, RULES) as node:
        with associated(node) as assoc:
            send(assoc, "1.2.1")
            send(assoc, "1.2.2")
            assert node.sweep(after_s=2) == []
        assert node.sweep() == [RELEASED]


def test_what_comes_on_the_next_association_has_to_be_released_too(node: Node) -> None:
    with associated(node) as assoc:
        send(assoc, "1.2.1")
    node.clock.forward(1)
    with associated(node) as assoc:
        send(assoc, "1.2.2")
        assert node.sweep(after_s=2) == []
        send(assoc, "1.2.3")
    assert node.sweep(after_s=1) == []
    assert node.sweep(after_s=1) == [RELEASED]


def test_a_study_waits_for_every_association_that_it_comes_on(node: Node) -> None:
    first, second = associate(node), associate(node)
    send(first, "1.2.1")
    send(second, "1.2.2")
    release(node, first)
    assert node.sweep(after_s=3) == []
    release(node, second)
    assert node.sweep() == [RELEASED]


def test_a_study_waits_for_every_sender_that_it_comes_from(node: Node) -> None:
    first, second = associate(node, calling="ONE"), associate(node, calling="TWO")
    send(first, "1.2.1")
    send(second, "1.2.2")
    release(node, first)
    assert node.sweep(after_s=3) == []
    release(node, second)
    assert node.sweep() == [RELEASED]


def test_an_association_on_which_something_else_comes_holds_up_nothing(node: Node) -> None:
    others = associate(node, calling="OTHER")
    send(others, "1.2.9", study=OTHER_STUDY)
    with associated(node) as assoc:
        send(assoc, "1.2.1")
    assert node.sweep(after_s=2) == [RELEASED]
    assert {study.study_instance_uid: study.state for study in all_of(node.sessions, Study)} == {
        STUDY: "complete",
        OTHER_STUDY: "receiving",
    }
    release(node, others)


def test_an_association_of_the_same_sender_that_began_later_holds_up_nothing(node: Node) -> None:
    first = associate(node)
    send(first, "1.2.1")
    node.clock.forward(1)
    second = associate(node)
    release(node, first)
    assert node.sweep(after_s=1) == [RELEASED]
    release(node, second)


def test_an_aborted_association_says_nothing(node: Node) -> None:
    assoc = associate(node)
    send(assoc, "1.2.1")
    abort(node, assoc)
    assert node.sweep(after_s=29) == []
    assert node.sweep(after_s=1) == [QUIET]


def test_a_lost_connection_says_nothing(node: Node) -> None:
    part10 = dx_bytes()
    with RawPeer(node.port) as peer:
        assert peer.associate() == ACCEPTED
        peer.send(store(str(make_dx().SOPInstanceUID), part10[part10.index(b"\x08\0\x16\0UI") :]))
        assert peer.status() == 0
    wait_until(lambda: not node.server.active_associations, "the node has seen that the peer is gone")
    assert node.sweep(after_s=29) == []
    assert only(node.sessions, Study).broken_off_at == NOON


@pytest.mark.parametrize("ends", [(release, abort), (abort, release)], ids=["released first", "aborted first"])
def test_a_study_that_was_broken_off_waits_though_its_sender_released_the_other_association(
    ends: tuple[Callable[[Node, Association], None], ...], node: Node
) -> None:
    associations = [associate(node), associate(node)]
    for number, assoc in enumerate(associations):
        send(assoc, f"1.2.{number}")
    for end, assoc in zip(ends, associations, strict=True):
        end(node, assoc)
    assert node.sweep(after_s=29) == []
    assert node.sweep(after_s=1) == [QUIET]


def test_a_study_that_is_sent_again_after_it_was_broken_off_can_be_released(node: Node) -> None:
    assoc = associate(node)
    send(assoc, "1.2.1")
    abort(node, assoc)
    node.clock.forward(1)
    with associated(node) as assoc:
        send(assoc, "1.2.1")
        send(assoc, "1.2.2")
    assert node.sweep(after_s=2) == [RELEASED]


def test_a_release_is_remembered_over_a_restart(node: Node) -> None:
    with associated(node) as assoc:
        send(assoc, "1.2.1")
    node.restart()
    assert node.sweep(after_s=2) == [RELEASED]


def test_what_came_before_a_restart_is_released_by_nothing_after_it(node: Node) -> None:
    """The restarted port is a second one here: it knows as little of the first one's associations."""
    assoc = associate(node)
    send(assoc, "1.2.1")
    node.clock.forward(1)
    with running_node(node.settings, node.sessions, RULES) as restarted:
        restarted.clock.forward(1)
        with associated(restarted):
            pass
    assert node.sweep(after_s=28) == []
    abort(node, assoc)


def test_a_late_image_reopens_a_released_study_and_its_release_closes_it_again(node: Node) -> None:
    with associated(node) as assoc:
        send(assoc, "1.2.1")
    assert node.sweep(after_s=2) == [RELEASED]
    node.finish_jobs()
    with associated(node) as assoc:
        send(assoc, "1.2.2")
        assert node.sweep(after_s=2) == []
    assert node.sweep() == [RELEASED]
    assert node.revisions() == [1, 2]


def test_a_clock_that_was_set_back_leaves_the_study_to_the_quiet_timer(node: Node) -> None:
    assoc = associate(node)
    send(assoc, "1.2.1")
    node.clock.forward(-20)
    release(node, assoc)
    assert node.sweep(after_s=40) == []
    assert node.sweep(after_s=10) == [QUIET]


def test_who_is_turned_away_holds_up_nothing(settings: Settings, sessions: Sessions) -> None:
    narrow = settings.model_copy(update={"max_associations": 1})
    with running_node(narrow, sessions, RULES) as node:
        assoc = associate(node)
        with RawPeer(node.port) as refused:
            assert refused.associate() != ACCEPTED
        send(assoc, "1.2.1")
        release(node, assoc)
        assert node.sweep(after_s=2) == [RELEASED]


def test_without_the_rule_a_release_says_nothing(settings: Settings, sessions: Sessions) -> None:
    with running_node(settings, sessions, Completeness()) as node:
        with associated(node) as assoc:
            send(assoc, "1.2.1")
        assert node.sweep(after_s=29) == []
        assert only(sessions, Study).released_at is None


def test_a_database_that_is_away_leaves_the_study_to_the_quiet_timer(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    assoc = associate(node)
    send(assoc, "1.2.1")
    event.listen(node.sessions, "before_commit", _refuse)
    release(node, assoc)
    event.remove(node.sessions, "before_commit", _refuse)
    assert "association_end_not_noted" in caplog.text
    assert node.sweep(after_s=29) == []
    assert node.sweep(after_s=1) == [QUIET]


def _refuse(*_: object) -> None:
    raise OperationalError("COMMIT", {}, Exception("CANARY"))


def test_many_senders_at_once_are_all_noted(node: Node) -> None:
    def one(number: int) -> None:
        with associated(node, calling=f"SENDER{number}") as assoc:
            for instance in range(3):
                send(assoc, f"1.2.{number}.{instance}", study=f"{STUDY}.{number}")

    senders = [threading.Thread(target=one, args=(number,)) for number in range(1, 7)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(20)
    assert node.sweep(after_s=2) == [RELEASED] * 6
