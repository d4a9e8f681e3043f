"""What is remembered of pulls, on both databases."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from doubles import NOON, FakeWriter
from rows import add_instance, add_job, add_pull, add_report, add_study, all_of, moves_of, only, receive
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from dicom_node import lifecycle
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import IllegalMove, Transient
from dicom_node.models import Job, Pull, Report, Study, Transition
from dicom_node.orphans import return_orphans
from dicom_node.peers import Completeness, DicomSource
from dicom_node.pull import ledger
from dicom_node.pull.comparison import is_for_comparison
from dicom_node.pull.query import FoundStudy
from dicom_node.receive.completeness import close_quiet_studies
from dicom_node.roles import roles_of
from dicom_node.states import PullState, StudyState
from dicom_node.storage import InstanceStore
from workers.inference import Reader, infer

ALLOWED = {
    (PullState.PENDING, PullState.PULLING),
    (PullState.PULLING, PullState.DONE),
    (PullState.PULLING, PullState.PENDING),
    (PullState.PULLING, PullState.FAILED),
    (PullState.DONE, PullState.PENDING),
    (PullState.FAILED, PullState.PENDING),
}
LATER = NOON + timedelta(hours=1)


def found(**counts: int) -> list[FoundStudy]:
    """Studies 1.2.NAME with so many objects."""
    return [FoundStudy(f"1.2.{name.removeprefix('s')}", count) for name, count in counts.items()]


@pytest.mark.parametrize("cell", list(product(PullState, repeat=2)), ids="-".join)
def test_a_pull_moves_as_its_table_says(cell: tuple[PullState, PullState], sqlite_sessions: Sessions) -> None:
    old, new = cell
    with sqlite_sessions.begin() as session:
        pull = add_pull(session, state=old)
        if cell in ALLOWED:
            assert lifecycle.advance(session, pull, new, now=NOON)
        else:
            with pytest.raises(IllegalMove):
                lifecycle.advance(session, pull, new, now=NOON)


def test_a_study_is_remembered_once_for_each_source(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert ledger.remember(session, "pacs", [*found(s1=1, s2=1), *found(s1=1)], NOON) == 2
    with sessions.begin() as session:
        assert ledger.remember(session, "pacs", found(s1=1, s2=1, s3=1), NOON) == 1
        assert ledger.remember(session, "other", found(s1=1), NOON) == 1
    assert len(all_of(sessions, Pull)) == 4
    with pytest.raises(IntegrityError), sessions.begin() as session:
        add_pull(session, "1.2.1")


@pytest.mark.parametrize("state", PullState)
def test_a_study_that_has_grown_is_due_again_unless_it_is_due_already(state: PullState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_pull(session, "1.2.1", instance_count=2, state=state, attempts=3)
    with sessions.begin() as session:
        assert ledger.remember(session, "pacs", found(s1=2), LATER) == 0
        is_again = ledger.remember(session, "pacs", found(s1=3), LATER)
    pull = only(sessions, Pull)
    ended = state in (PullState.DONE, PullState.FAILED)
    assert is_again == ended
    assert (pull.state, pull.attempts) == (("pending", 0) if ended else (state, 3))
    # Of one that is being pulled nobody knows whether the new object comes along: the next poll looks again.
    assert pull.instance_count == (2 if state == PullState.PULLING else 3)


@pytest.mark.parametrize("state", PullState)
def test_an_operator_has_a_study_pulled_at_once_whatever_its_state(state: PullState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_pull(session, "1.2.1", state=state, attempts=9, due_at=LATER)
    with sessions.begin() as session:
        taken = ledger.take(session, "pacs", FoundStudy("1.2.1"), now=NOON, lease_s=60)
    if state == PullState.PULLING:
        assert taken is None
    else:
        assert taken is not None
        assert (taken.state, taken.attempts) == ("pulling", 10 if state == PullState.PENDING else 1)


def test_a_new_study_is_taken_before_anybody_else_can(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert ledger.take(session, "pacs", FoundStudy("1.2.1", 4), now=NOON, lease_s=60)
    assert moves_of(sessions, "pull") == [("", "pending"), ("pending", "pulling")]
    with sessions.begin() as session:
        assert ledger.take_due(session, "pacs", now=NOON, lease_s=60) is None


def test_only_what_is_due_at_a_source_is_taken(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_pull(session, "1.2.1", due_at=LATER)
        add_pull(session, "1.2.2", source="other")
        assert not ledger.is_due(session, "pacs", NOON)
        assert ledger.is_due(session, "pacs", LATER)
        assert ledger.take_due(session, "pacs", now=NOON, lease_s=60) is None
        taken = ledger.take_due(session, "pacs", now=LATER, lease_s=60)
    assert taken is not None
    assert taken.study_instance_uid == "1.2.1"


def test_what_a_dead_puller_held_goes_back(settings: Settings, sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_pull(session)
        ledger.take_due(session, "pacs", now=NOON, lease_s=60)
    return_orphans(sessions, settings, LATER, Pull)
    assert only(sessions, Pull).state == "pending"


def test_a_study_is_here_while_an_object_of_it_is(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = add_study(session)
        assert not ledger.is_here(session, study.study_instance_uid)
        instance = add_instance(session, study)
        assert ledger.is_here(session, study.study_instance_uid)
        instance.removed_at = NOON
        assert not ledger.is_here(session, study.study_instance_uid)


# Priors


def add_draft(session: Session, **columns: Any) -> Study:
    study = add_study(session)
    add_report(session, add_job(session, study, state="reported"), add_instance(session, study))
    return study


def test_the_prior_of_each_new_draft_is_looked_for_once(sessions: Sessions) -> None:
    with sessions.begin() as session:
        drafted = add_draft(session)
        add_job(session, state="skipped")
    for count in (1, 0):
        with sessions.begin() as session:
            assert ledger.remember_priors(session, "pacs", NOON) == count
    with sessions.begin() as session:
        assert ledger.remember_priors(session, "other", NOON) == 1
        assert ledger.remember_priors(session, "late", NOON + timedelta(days=2)) == 0
    assert [(each.prior_of, each.source) for each in all_of(sessions, Pull)] == [
        (drafted.id, "pacs"),
        (drafted.id, "other"),
    ]


@pytest.mark.parametrize("is_here", [False, True])
def test_a_prior_that_is_here_already_stays_what_it_is(is_here: bool, sessions: Sessions) -> None:
    with sessions.begin() as session:
        current, prior = add_draft(session), add_study(session)
        uid = prior.study_instance_uid if is_here else "1.2.99"
        pull = add_pull(session, "", prior_of=current.id)
        assert ledger.note_prior(session, pull, uid) is not is_here
    pull = only(sessions, Pull)
    assert (pull.study_instance_uid, pull.for_comparison) == (uid, not is_here)
    with sessions() as session:
        assert not is_for_comparison(session, prior.id or 0)


def test_a_prior_is_not_written_down_by_who_lost_the_lease(sessions: Sessions) -> None:
    with sessions.begin() as session:
        mine = add_pull(session, "", prior_of=add_draft(session).id)
    with sessions.begin() as session:
        ledger.take_due(session, "pacs", now=NOON, lease_s=60)
    with sessions.begin() as session, pytest.raises(Transient, match="the lease was lost"):
        ledger.note_prior(session, mine, "1.2.99")


@pytest.mark.parametrize(
    ("pulls", "is_so"),
    [
        ([], False),
        ([{"prior": True, "for_comparison": True}], True),
        ([{"prior": True}], False),
        ([{}], False),
        ([{"prior": True, "for_comparison": True}, {}], False),
        ([{"prior": True, "for_comparison": True}, {"prior": True, "source": "other"}], True),
    ],
    ids=["routed", "prior", "prior that was here", "pulled", "prior and pulled", "prior of two sources"],
)
def test_a_study_is_for_comparison_where_it_came_for_nothing_else(
    pulls: list[dict[str, Any]], is_so: bool, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        current, study = add_study(session), add_study(session)
        for each in pulls:
            columns = {**each, "prior_of": current.id if each.get("prior") else None}
            columns.pop("prior", None)
            add_pull(session, study.study_instance_uid, **columns)
        assert is_for_comparison(session, study.id or 0) is is_so


def test_what_came_for_comparison_is_never_drafted(settings: Settings, sessions: Sessions) -> None:
    with sessions.begin() as session:
        current, prior = add_study(session), add_study(session)
        add_pull(session, prior.study_instance_uid, prior_of=current.id, for_comparison=True)
        add_job(session, prior)
    reader = Reader(sessions, InstanceStore(settings.instances_dir), FakeWriter(), settings, lambda: NOON)
    assert infer(reader)
    job = only(sessions, Job)
    assert (job.state, job.reason) == ("skipped", "a prior, for comparison only")


@pytest.mark.parametrize("again", [{}, {"SOPInstanceUID": "1.2.5", "ViewPosition": "PA"}], ids=["the same", "another"])
def test_what_came_for_comparison_and_is_then_sent_for_itself_is_drafted(
    again: dict[str, str], settings: Settings, sessions: Sessions
) -> None:
    store = InstanceStore(settings.instances_dir)
    with sessions.begin() as session:
        current = add_study(session, state=StudyState.COMPLETE)
        receive(session, store, SOPInstanceUID="1.2.4")
        prior = session.exec(select(Study).where(Study.id != current.id)).one()
        add_pull(session, prior.study_instance_uid, prior_of=current.id, for_comparison=True, state=PullState.DONE)
        lifecycle.advance(session, prior, StudyState.COMPLETE, now=NOON)
        add_job(session, prior, state="skipped")
    with sessions.begin() as session:
        receive(session, store, **{"SOPInstanceUID": "1.2.4", **again})
    with sessions.begin() as session:
        assert len(close_quiet_studies(session, now=LATER, idle_timeout_s=60, rules=Completeness())) == 1
    assert infer(Reader(sessions, store, FakeWriter(), settings, lambda: LATER))
    assert only(sessions, Report).job_id == all_of(sessions, Job)[-1].id
    words = [each.reason for each in all_of(sessions, Transition)]
    assert "it was sent for itself: it is no longer a prior alone" in words


def test_a_report_that_comes_to_a_prior_has_it_not_drafted(sessions: Sessions) -> None:
    with sessions.begin() as session:
        current = add_study(session, state=StudyState.COMPLETE)
        receive(session)
        prior = session.exec(select(Study).where(Study.id != current.id)).one()
        add_pull(session, prior.study_instance_uid, prior_of=current.id, for_comparison=True, state=PullState.DONE)
        lifecycle.advance(session, prior, StudyState.COMPLETE, now=NOON)
        for _ in range(2):
            receive(session, SOPInstanceUID="1.2.5", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
        assert is_for_comparison(session, prior.id or 0)


@pytest.mark.parametrize("state", [PullState.PENDING, PullState.PULLING])
def test_what_comes_while_a_prior_is_pulled_is_the_prior(state: PullState, sessions: Sessions) -> None:
    with sessions.begin() as session:
        current = add_study(session, state=StudyState.COMPLETE)
        receive(session)
        prior = session.exec(select(Study).where(Study.id != current.id)).one()
        add_pull(session, prior.study_instance_uid, prior_of=current.id, for_comparison=True, state=state)
        receive(session)
        assert is_for_comparison(session, prior.id or 0)


def test_the_puller_runs_where_there_is_something_to_pull() -> None:
    source = DicomSource(name="pacs", ae_title="PACS", host="localhost")
    assert "puller" not in roles_of(Settings())
    assert "puller" in roles_of(Settings(sources=(source,)))
