"""Pulling from real archives: Orthanc and DCMTK, by C-MOVE and C-GET."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from archives import ACCESSION, STUDIES, Archive, dcmqrscp, film, make_puller, orthanc, receiving, uid
from doubles import NOON, FrozenClock
from foreign import require_peer
from rows import add_job, add_report, all_of, only, receive
from sqlmodel import Session, select
from stow_peer import data_set_of
from waiting import LONG_S, wait_until

from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Instance, Pull, Series, Study
from dicom_node.peers import PullRule
from dicom_node.pull.comparison import is_for_comparison
from dicom_node.pull.puller import Puller
from dicom_node.pull.query import FoundStudy, studies_by_accession, studies_by_uid
from dicom_node.pull.run import run

STARTERS: dict[str, Callable[[Path], AbstractContextManager[Archive]]] = {"orthanc": orthanc, "dcmqrscp": dcmqrscp}


@pytest.fixture(scope="module", params=STARTERS)
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with STARTERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture(params=["move", "get"])
def retrieve(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def puller(archive: Archive, retrieve: str, settings: Settings, sqlite_sessions: Sessions) -> Iterator[Puller]:
    """For a source without rules; the node's scp runs."""
    made = make_puller(settings, sqlite_sessions, archive.source(retrieve=retrieve), FrozenClock())
    with receiving(settings, made.receiver, archive.node_port):
        yield made


def with_source(puller: Puller, **changes: object) -> Puller:
    return replace(puller, source=puller.source.model_copy(update=changes))


def studies_here(sessions: Sessions) -> set[str]:
    """The names of the studies that are here."""
    names = {uid(name): name for name in STUDIES}
    return {names[study.study_instance_uid] for study in all_of(sessions, Study)}


def pull_all(puller: Puller) -> None:
    while puller.pull_due():
        pass


def test_a_study_is_pulled_by_its_accession_number(puller: Puller, archive: Archive) -> None:
    with puller.asking() as ask:
        found = studies_by_accession(ask, ACCESSION)
    assert [each.study_instance_uid for each in found] == [uid("today")]
    pull = puller.pull_now(found[0])
    assert (pull.state, pull.reason) == ("done", "2 objects came")
    instances = all_of(puller.receiver.sessions, Instance)
    assert {each.view for each in instances} == {"PA", "LL"}
    assert {each.calling_ae for each in instances} == {archive.ae_title}
    kept = {data_set_of(puller.receiver.store.open(each.path).read_bytes()) for each in instances}
    assert kept == {data_set_of(each) for each in STUDIES["today"]}


def test_a_study_is_pulled_again_when_its_modality_has_sent_the_rest(
    archive: Archive, settings: Settings, sqlite_sessions: Sessions, tmp_path: Path
) -> None:
    """DCMTK does not count the objects of a study."""
    of_study = {"StudyDate": "20260115", "PatientID": "CANARY-GROWS", "AccessionNumber": "CANARY-ACC-2"}
    rule = PullRule(days=100, match={"AccessionNumber": "CANARY-ACC-2"})
    puller = make_puller(settings, sqlite_sessions, archive.source(retrieve="get", rules=(rule,)), FrozenClock())
    for count, name in enumerate(("first", "second"), start=1):
        image = tmp_path / name
        image.write_bytes(film("growing", name, **of_study))
        storescu = [require_peer("storescu"), "-aec", archive.ae_title, "127.0.0.1", str(archive.port), str(image)]
        subprocess.run(storescu, check=True, timeout=60)
        for is_new in (1, 0):
            assert puller.poll() == is_new
            pull_all(puller)
        assert len(all_of(sqlite_sessions, Instance)) == count


def test_a_study_that_is_not_there_does_not_come(puller: Puller, archive: Archive) -> None:
    with puller.asking() as ask:
        assert studies_by_accession(ask, "CANARY-NONE") == []
        assert studies_by_uid(ask, "1.2.3.4") == []
        assert studies_by_uid(ask, uid("today")) == [FoundStudy(uid("today"), 2)]
    pull = puller.pull_now(FoundStudy("1.2.3.4"))
    if archive.name == "orthanc":
        assert (pull.state, pull.reason[:42]) == ("pending", "ORTHANC ended with status C000 after 0 obj")
    else:
        assert (pull.state, pull.reason) == ("failed", "QRPACS has no such study, or sends nothing of it")


def test_what_is_pulled_again_is_no_second_instance(puller: Puller) -> None:
    assert [puller.pull_now(FoundStudy(uid("today"))).state for _ in range(2)] == ["done", "done"]
    assert len(all_of(puller.receiver.sessions, Instance)) == 2
    assert len(all_of(puller.receiver.sessions, Pull)) == 1


def test_a_rule_pulls_what_it_names_once_and_a_restart_pulls_nothing_again(puller: Puller) -> None:
    puller = with_source(puller, rules=(PullRule(days=1),))
    assert puller.poll() == 2
    pull_all(puller)
    assert studies_here(puller.receiver.sessions) == {"today", "yesterday"}
    assert {pull.state for pull in all_of(puller.receiver.sessions, Pull)} == {"done"}
    again = make_puller(puller.settings, puller.receiver.sessions, puller.source, FrozenClock())
    assert again.poll() == 0
    assert not again.pull_due()


def test_the_days_of_a_rule_and_its_modalities_are_kept(puller: Puller) -> None:
    rules = (PullRule(days=0, modalities=("CT",)), PullRule(days=7, modalities=("MR", "DX")))
    puller = with_source(puller, rules=rules)
    assert puller.poll() == 4
    pull_all(puller)
    assert studies_here(puller.receiver.sessions) == {"ct", "today", "yesterday", "last week"}


def test_a_key_that_the_source_does_not_know_matches_nothing(puller: Puller, archive: Archive) -> None:
    puller = with_source(puller, rules=(PullRule(days=1, match={"InstitutionName": "Ward ?"}),))
    assert puller.poll() == (2 if archive.name == "orthanc" else 0)
    puller = with_source(puller, rules=(PullRule(days=1, match={"InstitutionName": "Ward 5"}),))
    assert puller.poll() == 0


def test_objects_that_find_no_room_are_pulled_again_later(puller: Puller) -> None:
    puller.receiver.store._min_free_bytes = 2**60
    pull = puller.pull_now(FoundStudy(uid("today")))
    assert pull.state == "pending"
    clock = puller.receiver.clock
    assert isinstance(clock, FrozenClock)
    assert not puller.pull_due()
    clock.forward(puller.settings.retry_after_s)
    puller.receiver.store._min_free_bytes = 0
    assert puller.pull_due()
    pull = only(puller.receiver.sessions, Pull)
    assert (pull.state, pull.attempts, pull.reason) == ("done", 2, "2 objects came")


def test_part_of_a_study_is_told_in_words_and_tried_again(puller: Puller, archive: Archive) -> None:
    """The second object finds no room."""
    store = puller.receiver.store
    begin = store.begin

    def once(prefix: bytes) -> object:
        store._min_free_bytes = 0 if not all_of(puller.receiver.sessions, Instance) else 2**60
        return begin(prefix)

    store.begin = once  # type: ignore[method-assign, assignment]
    pull = puller.pull_now(FoundStudy(uid("today")))
    assert pull.state == "pending"
    is_cut = archive.name == "orthanc" and puller.source.retrieve == "move"
    words = "ended with status C000 after 1 objects" if is_cut else "sent 1 of 2 objects, 1 failed"
    assert f"{words}; attempt 1 of 10" in pull.reason


def test_a_move_destination_that_the_source_does_not_know_is_named(
    archive: Archive, settings: Settings, sqlite_sessions: Sessions
) -> None:
    stranger = settings.model_copy(update={"ae_title": "STRANGER"})
    pull = make_puller(stranger, sqlite_sessions, archive.source(), FrozenClock()).pull_now(FoundStudy(uid("today")))
    assert pull.state == "pending"
    words = {"orthanc": "did not answer in time", "dcmqrscp": "does not know the move destination STRANGER"}
    assert words[archive.name] in pull.reason


def add_draft(session: Session, name: str, puller: Puller) -> Study:
    """A study that is here and drafted."""
    instance = receive(
        session,
        puller.receiver.store,
        StudyInstanceUID=uid(name),
        StudyDate="20260301",
        SpecificCharacterSet="ISO_IR 100",
    )
    study = session.get_one(Study, session.get_one(Series, instance.series_id).study_id)
    add_report(session, add_job(session, study, state="reported"), instance)
    return study


def test_the_newest_prior_of_the_same_kind_is_pulled_to_compare(puller: Puller) -> None:
    puller, sessions = with_source(puller, fetch_priors=True), puller.receiver.sessions
    with sessions.begin() as session:
        current = add_draft(session, "today", puller)
    assert puller.poll() == 1
    pull_all(puller)
    assert studies_here(sessions) == {"today", "yesterday"}
    pull = only(sessions, Pull)
    assert (pull.prior_of, pull.for_comparison, pull.state, pull.reason) == (current.id, True, "done", "1 objects came")
    assert pull.study_instance_uid == uid("yesterday")
    with sessions() as session:
        prior = session.exec(select(Study).where(Study.study_instance_uid == pull.study_instance_uid)).one()
        assert is_for_comparison(session, prior.id or 0)
        assert not is_for_comparison(session, current.id or 0)
    assert puller.poll() == 0


def test_the_command_pulls_by_accession_number(archive: Archive, settings: Settings, sqlite_sessions: Sessions) -> None:
    source = archive.source(retrieve="get").model_dump_json()
    environment = {
        **os.environ,
        "DICOM_NODE_DATA_DIR": str(settings.data_dir),
        "DICOM_NODE_MIN_FREE_BYTES": "0",
        "DICOM_NODE_SOURCES": f"[{source}]",
        "COLUMNS": "200",
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-m", "dicom_node", "pull", "pacs", *arguments]
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)

    done = command("--accession", ACCESSION)
    assert (done.returncode, done.stdout) == (0, f"{uid('today')}: done (2 objects came)\n"), done.stderr
    done = command("--study", "1.2.3.4")
    assert (done.returncode, done.stderr) == (1, f"dicom-node: {archive.ae_title} has no such study\n")
    assert "why" in command().stdout
    assert json.loads(command("--json").stdout) == []
    (pulled,) = json.loads(command("--accession", ACCESSION, "--json").stdout)
    assert (pulled["study"], pulled["where"]) == (uid("today"), "done")


def test_the_role_pulls_what_a_rule_names(
    archive: Archive, settings: Settings, sqlite_sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on from the day of the studies."""
    since = utc_now() - NOON
    monkeypatch.setattr("dicom_node.pull.run.utc_now", lambda: utc_now() - since)
    source = archive.source(retrieve="get", rules=(PullRule(days=1),))
    stop = threading.Event()
    role = threading.Thread(target=run, args=(settings.model_copy(update={"sources": (source,)}), stop))
    role.start()
    try:
        wait_until(lambda: {each.state for each in all_of(sqlite_sessions, Pull)} == {"done"}, "all is pulled", 120)
    finally:
        stop.set()
        role.join(LONG_S)
    assert not role.is_alive()
    assert {"today", "yesterday"} <= studies_here(sqlite_sessions)


def test_an_accession_number_with_wildcards_is_refused(puller: Puller) -> None:
    with puller.asking() as ask:
        for wild in ("*", "A?", "A\\B", "  "):
            with pytest.raises(Permanent, match="the accession number"):
                studies_by_accession(ask, wild)
