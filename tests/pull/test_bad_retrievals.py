"""Sources that break off, refuse or never end while they send a study."""

import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

import pytest
from archives import film, make_puller, uid
from audited import transfers
from doubles import FrozenClock
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_GET
from pynetdicom.dsutils import encode
from rows import add_job, add_pull, add_report, add_study, all_of, moves_of, only, receive
from test_bad_sources import PENDING, SUCCESS, Handler, answers, source_that, study
from waiting import LONG_S, free_port

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Instance, Pull, Series, Study
from dicom_node.peers import DicomSource, PullRule
from dicom_node.pull.association import STUDY_ROOT_FIND
from dicom_node.pull.query import FoundStudy
from dicom_node.pull.run import Rounds
from dicom_node.storage import InstanceStore

# Retrieval


def pulled(settings: Settings, sessions: Sessions, source: DicomSource) -> Pull:
    return make_puller(settings, sessions, source, FrozenClock()).pull_now(FoundStudy(uid("today")))


def gets(*objects: bytes, then: Callable[[evt.Event], object] = lambda event: None) -> Handler:
    """Sends the objects by C-GET; `then` is called before the last."""

    def on_get(event: evt.Event) -> Iterator[Any]:
        yield len(objects)
        for number, each in enumerate(objects):
            if number == len(objects) - 1:
                then(event)
            yield PENDING, dcmread(DicomBytesIO(each))

    return on_get


ONE, OTHER = film("today", "one"), film("today", "two")


def test_objects_that_cannot_be_understood_are_counted(settings: Settings, sqlite_sessions: Sessions) -> None:
    broken = film("today", "broken", SeriesInstanceUID=None)
    with source_that(get=gets(ONE, broken, OTHER), retrieve="get") as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert pull.state == "pending"
    assert "BADPACS sent 2 of 3 objects, 1 failed" in pull.reason
    assert len(all_of(sqlite_sessions, Instance)) == 2


def test_what_came_before_the_source_hung_up_is_kept_and_the_rest_is_tried_again(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    with source_that(get=gets(ONE, OTHER, then=lambda event: event.assoc.abort()), retrieve="get") as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert pull.state == "pending"
    assert "BADPACS did not answer in time, or ended the association" in pull.reason
    assert only(sqlite_sessions, Instance).id
    with source_that(get=gets(ONE, OTHER), retrieve="get") as source:
        assert pulled(settings, sqlite_sessions, source).state == "done"
    assert len(all_of(sqlite_sessions, Instance)) == 2


def test_what_came_by_c_get_is_in_the_audit_trail_also_of_a_retrieval_that_was_broken_off(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    for then in (lambda event: event.assoc.abort(), lambda event: None):
        with source_that(get=gets(ONE, OTHER, then=then), retrieve="get") as source:
            puller = make_puller(settings, sqlite_sessions, source, FrozenClock())
            puller.pull_now(FoundStudy(uid("today")))
            puller.trail.stopped()
    assert transfers(settings) == [(1, "CANARY-ID"), (2, "CANARY-ID")]


def test_a_source_that_never_ends_a_retrieval_is_left_after_its_time_out(
    settings: Settings, sqlite_sessions: Sessions
) -> None:
    go_on = threading.Event()
    hangs = gets(ONE, OTHER, then=lambda event: go_on.wait(LONG_S))
    with source_that(get=hangs, retrieve="get", timeout_s=3.0) as source:
        pull = pulled(settings, sqlite_sessions, source)
        go_on.set()
    assert (pull.state, pull.attempts) == ("pending", 1)
    assert only(sqlite_sessions, Instance).id


def test_a_source_that_offers_no_retrieval_fails_for_a_person(settings: Settings, sqlite_sessions: Sessions) -> None:
    with source_that(services=[STUDY_ROOT_FIND]) as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert (pull.state, pull.reason) == ("failed", "BADPACS does not offer C-MOVE (Study Root)")


def test_a_source_that_does_not_know_this_node_says_so(settings: Settings, sqlite_sessions: Sessions) -> None:
    def does_not_know(_: evt.Event) -> Iterator[Any]:
        yield None, None

    with source_that(move=does_not_know) as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert "BADPACS does not know the move destination CXRNODE (status A801)" in pull.reason


@pytest.mark.parametrize("status", [0xA702, 0xFE00])
def test_a_retrieval_that_fails_is_tried_again_later_and_ends_as_failed(
    status: int, settings: Settings, sqlite_sessions: Sessions
) -> None:
    def fails(_: evt.Event) -> Iterator[Any]:
        yield 1
        yield status, None

    clock = FrozenClock()
    with source_that(get=fails, retrieve="get") as source:
        puller = make_puller(settings, sqlite_sessions, source, clock)
        pull = puller.pull_now(FoundStudy(uid("today")))
        waits = []
        while pull.state == "pending":
            waits.append((pull.due_at - clock.now).total_seconds())
            clock.now = pull.due_at
            assert puller.pull_due()
            pull = only(sqlite_sessions, Pull)
    assert waits[:4] == [10, 20, 40, 80]
    assert (pull.state, pull.attempts) == ("failed", 10)
    assert pull.reason.endswith("gave up after 10 attempts")


def ends(status: int, *, failed_uids: Sequence[str] = (), objects: Sequence[bytes] = (), **counts: int) -> Handler:
    """Sends the objects, then this final response: pynetdicom's own always has counts."""

    def on_get(event: evt.Event) -> Iterator[Any]:
        send = event.assoc.dimse.send_msg

        def altered(response: Any, context_id: int) -> None:
            if isinstance(response, C_GET) and response.Status not in (PENDING, None):
                response.Status = status
                for each in ("Remaining", "Completed", "Failed", "Warning"):
                    setattr(response, f"NumberOf{each}Suboperations", counts.get(each.lower()))
                identifier = Dataset()
                identifier.FailedSOPInstanceUIDList = list(failed_uids)
                response.Identifier = BytesIO(encode(identifier, True, True) or b"") if failed_uids else None
            send(response, context_id)

        event.assoc.dimse.send_msg = altered  # type: ignore[assignment, method-assign]
        yield from gets(*objects)(event)

    return on_get


@pytest.mark.parametrize(
    ("final", "state", "words"),
    [
        (ends(0xB000), "pending", "does not say how many objects failed"),
        (ends(0xB000, objects=[ONE], completed=3), "pending", "does not say how many objects failed"),
        (ends(0xB000, objects=[ONE], completed=0, warning=1, failed=0), "done", "1 objects came"),
        (ends(0xB000, objects=[ONE], completed=1, failed=0, failed_uids=["1.2", "1.3"]), "pending", "sent 1 of 3"),
        (ends(SUCCESS, objects=[ONE], completed=1, remaining=3, failed=0), "pending", "sent 1 of 4 objects, 0 failed"),
        (ends(SUCCESS, objects=[ONE, OTHER]), "done", "all objects came"),
        (ends(SUCCESS), "pending", "does not say how many objects it sent, and none is here"),
    ],
)
def test_a_retrieval_that_does_not_say_that_it_was_whole_is_tried_again(
    final: Handler, state: str, words: str, settings: Settings, sqlite_sessions: Sessions
) -> None:
    with source_that(get=final, retrieve="get") as source:
        pull = pulled(settings, sqlite_sessions, source)
    assert (pull.state, words in pull.reason) == (state, True), pull.reason


def test_a_fault_of_this_program_fails_for_a_person(settings: Settings, sqlite_sessions: Sessions) -> None:
    """There is no draft to compare with, which cannot be."""
    with sqlite_sessions.begin() as session:
        prior_of = add_study(session).id
        add_pull(session, "", prior_of=prior_of)
    with source_that() as source:
        assert make_puller(settings, sqlite_sessions, source, FrozenClock()).pull_due()
    pull = only(sqlite_sessions, Pull)
    assert (pull.state, pull.reason) == ("failed", "unexpected NoResultFound: see the log")


def test_a_search_for_a_prior_without_end_is_given_up_before_its_lease_ends(
    settings: Settings, sqlite_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its queries is answered in time."""
    go_on, queries = threading.Event(), []

    def slowly(event: evt.Event) -> Iterator[Any]:
        queries.append(event.identifier.QueryRetrieveLevel)
        if event.identifier.QueryRetrieveLevel == "SERIES":
            go_on.wait(0.4)
            return answers()(event)  # type: ignore[no-any-return]
        earlier = {"PatientID": "CANARY-ID", "IssuerOfPatientID": ""}
        return answers(*(study(f"{n}", StudyDate=f"2025010{n}", **earlier) for n in range(1, 10)))(event)  # type: ignore[no-any-return]

    with sqlite_sessions.begin() as session:
        instance = receive(session, InstanceStore(settings.instances_dir), StudyDate="20260301")
        current = session.get_one(Series, instance.series_id).study_id
        add_report(session, add_job(session, session.get_one(Study, current), state="reported"), instance)
        add_pull(session, "", prior_of=current)
    monkeypatch.setattr("dicom_node.pull.puller.LONGEST_SEARCH_S", 1.0)
    with source_that(slowly) as source:
        assert make_puller(settings, sqlite_sessions, source, FrozenClock()).pull_due()
        go_on.set()
    assert only(sqlite_sessions, Pull).state == "pending"
    assert len(queries) < 6


# A source that is away


def test_no_row_is_touched_while_the_source_is_away(settings: Settings, sqlite_sessions: Sessions) -> None:
    port, time = free_port(), [0.0]
    rule = PullRule(modalities=("DX",))
    listing = answers(study("today", ModalitiesInStudy="DX", NumberOfStudyRelatedInstances=1))
    with source_that(listing, port=port, rules=(rule,), retrieve="get", poll_s=60) as source:
        puller = make_puller(settings, sqlite_sessions, source, FrozenClock())
        assert puller.poll() == 1
    rounds = Rounds(puller, timer=lambda: time[0])
    before = moves_of(sqlite_sessions, "pull")
    for time[0] in (0.0, 1.0, 59.0, 60.0):
        assert not rounds()
    assert moves_of(sqlite_sessions, "pull") == before == [("", "pending")]
    with source_that(listing, get=gets(ONE), port=port):
        time[0] = 61.0
        assert not rounds()  # it rests
        time[0] = 120.0
        assert rounds()
    assert only(sqlite_sessions, Pull).state == "done"


def test_a_study_that_has_grown_is_pulled_again(settings: Settings, sqlite_sessions: Sessions) -> None:
    port, rule = free_port(), PullRule(modalities=("DX",))
    with source_that(port=port, rules=(rule,), retrieve="get") as source:
        puller = make_puller(settings, sqlite_sessions, source, FrozenClock())
    for objects in ([ONE], [ONE, OTHER], [ONE, OTHER]):
        listing = answers(study("today", ModalitiesInStudy="DX", NumberOfStudyRelatedInstances=len(objects)))
        with source_that(listing, get=gets(*objects), port=port):
            puller.poll()
            while puller.pull_due():
                pass
    assert [new for _, new in moves_of(sqlite_sessions, "pull")] == ["pending", "pulling", "done"] * 2
    assert len(all_of(sqlite_sessions, Instance)) == 2


# A source that refuses a question


def refuses(station: str, otherwise: Handler, then: Callable[[evt.Event], object] = lambda event: None) -> Handler:
    """Fails at a query for this station; `then` is called before."""

    def on_find(event: evt.Event) -> Iterator[Any]:
        if event.identifier.get("StationName") == station:
            then(event)
            return answers(status=0xA900)(event)  # type: ignore[no-any-return]
        return otherwise(event)  # type: ignore[no-any-return]

    return on_find


def rule_for(station: str) -> PullRule:
    return PullRule(modalities=("DX",), match={"StationName": station})


@pytest.mark.parametrize("then", [lambda event: None, lambda event: event.assoc.abort()], ids=["status", "abort"])
def test_a_rule_that_the_source_refuses_stops_neither_the_other_rules_nor_what_was_found(
    then: Callable[[evt.Event], object], settings: Settings, sqlite_sessions: Sessions
) -> None:
    listing = answers(study("today", ModalitiesInStudy="DX", StationName="B", NumberOfStudyRelatedInstances=1))
    rules = tuple(map(rule_for, ("A", "B", "A")))
    with source_that(refuses("A", listing, then), get=gets(ONE), rules=rules, retrieve="get") as source:
        assert Rounds(make_puller(settings, sqlite_sessions, source, FrozenClock()))()
    assert only(sqlite_sessions, Pull).state == "done"
