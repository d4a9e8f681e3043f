"""The worklist: where studies are, what is found, and that it lives."""

import itertools
from base64 import b64encode

import pytest
from crowd import Crowd
from doubles import NOON, FrozenClock
from page_browser import audited_when, logged_in, page_of
from rows import add_job, add_report, add_study, receive
from sqlmodel import Session, select
from waiting import in_threads, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import note
from dicom_node.models import Series, Study
from dicom_node.receive.intake import Receiver
from dicom_node.states import UNCHANGED, JobState, StudyState
from dicom_node.storage import InstanceStore
from dicom_node.timeline import study_status
from dicom_node.uids import derive_uid
from dicom_node.web import worklist, worklist_page
from dicom_node.web.worklist import FILTERS, PAGE_SIZE, Wanted, newest_change, read_worklist

JOBS = (  # state, reason, whether the draft was withdrawn, whether somebody has seen the failure
    *((state, "", False, False) for state in JobState),
    (JobState.SKIPPED, f"{UNCHANGED}: revision 1", False, False),
    (JobState.FAILED, "", True, False),
    (JobState.FAILED, "", False, True),
    (JobState.FAILED, "", True, True),
    (JobState.REPORTED, "", True, False),
)


def add_every_course(session: Session) -> None:
    """Studies with no job, with one of each kind, and with each pair of them that the tables allow."""
    drafting = (JobState.QUEUED, JobState.INFERRING)
    courses = [*((job,) for job in JOBS), *itertools.product(JOBS, JOBS), ()]
    for state, course in itertools.product(StudyState, courses):
        if sum(job[0] in drafting for job in course) > 1:
            continue
        study = add_study(session, state=state)
        for revision, (job_state, reason, is_withdrawn, is_seen) in enumerate(course, 1):
            seen_at = NOON if is_seen else None
            job = add_job(session, study, revision=revision, state=job_state, reason=reason, seen_at=seen_at)
            if is_withdrawn:
                add_report(session, job, withdrawn_at=NOON, withdrawal_reason="wrong film")


def test_the_filters_agree_with_the_status_of_every_study(sessions: Sessions) -> None:
    with sessions.begin() as session:
        add_every_course(session)
    with sessions() as session:
        statuses = [study_status(session, study) for study in session.exec(select(Study)).all()]
        for name, states in FILTERS.items():
            pages = (read_worklist(session, Wanted(name, page=number)).lines for number in range(1, 15))
            listed = {line.status.study_id for lines in pages for line in lines}
            assert listed == {each.study_id for each in statuses if not states or each.where in states}, name
        counts = read_worklist(session, Wanted()).counts
    assert counts["failed"] == sum(each.where == "failed" for each in statuses)
    assert counts["under way"] == sum(each.where in FILTERS["under way"] for each in statuses)


@pytest.mark.parametrize(
    ("words", "is_found"),
    [
        ("", True),
        ("müller", True),
        ("ANNA Müller", True),
        ("Müller, Anna", True),
        ("CANARY-1", True),
        ("canary-", True),
        ("acc_7", True),
        ("NARY", False),
        ("berta", False),
        ("%", False),
        ("_", False),
        ("acc%7", False),
        ("' OR 1=1 --", False),
        ("'; DROP TABLE study; --", False),
        ('" OR ""="', False),
        ("\\", False),
    ],
)
def test_a_study_is_found_by_name_id_and_accession_number(words: str, is_found: bool, sessions: Sessions) -> None:
    with sessions.begin() as session:
        columns = {"patient_name": "MÜLLER^Anna", "patient_name_folded": "müller anna"}
        add_study(session, patient_id="CANARY-1", accession_number="ACC_7", **columns)
    with sessions() as session:
        assert bool(read_worklist(session, Wanted(words=words)).lines) is is_found


def test_pages_hold_each_study_once_newest_first(sessions: Sessions) -> None:
    with sessions.begin() as session:
        made = [add_study(session).id for _ in range(PAGE_SIZE + 3)]
    with sessions() as session:
        first, second = (read_worklist(session, Wanted(page=number)) for number in (1, 2))
    assert [line.status.study_id for page in (first, second) for line in page.lines] == made[::-1]
    assert (first.has_more, second.has_more) == (True, False)


def test_the_last_page_leads_to_no_other(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist, "_LAST_PAGE", 2)
    with sessions.begin() as session:
        for _ in range(2 * PAGE_SIZE + 1):
            add_study(session)
    with sessions() as session:
        assert [read_worklist(session, Wanted(page=number)).has_more for number in (1, 2)] == [True, False]


def test_few_lists_are_read_at_once(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, crowd = logged_in(page), Crowd(read_worklist, expected=8)
    monkeypatch.setattr(worklist_page, "read_worklist", crowd)
    in_threads(lambda: browser.get("/"), 8)
    assert 1 <= crowd.largest <= 4


def test_what_comes_and_what_moves_is_a_change(sessions: Sessions) -> None:
    seen = []
    with sessions.begin() as session:
        seen.append(newest_change(session))
        study = add_study(session)
        seen.append(newest_change(session))
        note(session, study, NOON, "somebody said so")
        seen.append(newest_change(session))
        receive(session)
        seen.append(newest_change(session))
    assert len(set(seen)) == 4


def test_what_becomes_visible_late_is_a_change(postgres_sessions: Sessions) -> None:
    with postgres_sessions.begin() as session:
        study = add_study(session)
    with postgres_sessions() as late, postgres_sessions() as early:
        note(late, study, NOON, "begun first")
        late.flush()
        note(early, study, NOON, "begun last")
        early.commit()
        with postgres_sessions() as session:
            before = newest_change(session)
        late.commit()
    with postgres_sessions() as session:
        assert newest_change(session) != before


def test_a_study_is_on_the_page_by_its_patients_name_soon_after_it_came(page: int, node: Receiver) -> None:
    browser = logged_in(page)
    assert "No study has come yet." in browser.get("/").text
    with node.sessions.begin() as session:
        receive(session, node.store)
    wait_until(lambda: "CANARY, PHI" in browser.get("/").text, "the name is noted")
    shown = browser.get("/?q=phi").text
    assert "CANARY-ACC" in shown or "images may still come" in shown
    assert "No study is found by these words." in browser.get("/?q=somebody").text
    assert "No study is failed." in browser.get("/?where=failed").text


def test_whoever_looks_for_a_study_is_in_the_audit_trail(page: int, settings: Settings) -> None:
    browser = logged_in(page)
    browser.get("/?q=somebody")
    words = b64encode(b"somebody").decode()
    trail = audited_when(settings, f"<ParticipantObjectQuery>{words}</ParticipantObjectQuery>")
    browser.get("/?change=older", HX_Request="true")  # goes on showing the same
    browser.post("/logout", csrf=browser.get("/status").csrf)
    assert trail.count('"110112"') == audited_when(settings, '"110123"').count('"110112"') == 2


def test_a_search_that_is_said_to_be_a_renewal_is_in_the_audit_trail_once(page: int, settings: Settings) -> None:
    browser = logged_in(page)
    for path in ("/?q=somebody", "/?q=somebody", "/?q=somebody&where=done", "/?q=somebody&number=2", "/?q=some"):
        browser.get(path, HX_Request="true")
    browser.post("/logout", csrf=browser.get("/status").csrf)
    trail = audited_when(settings, '"110123"')
    counts = [trail.count(f">{b64encode(words).decode()}</ParticipantObjectQuery>") for words in (b"somebody", b"some")]
    assert counts == [3, 1]


def test_a_page_that_renews_itself_gets_what_is_new_and_nothing_else(page: int, node: Receiver) -> None:
    browser = logged_in(page)
    change = browser.get("/").text.split("&change=")[1].split('"')[0].replace("amp;", "")
    same = browser.get(f"/?change={change}", HX_Request="true")
    assert (same.status, same.content) == (204, b"")
    with node.sessions.begin() as session:
        add_study(session)
    renewed = browser.get(f"/?change={change}", HX_Request="true")
    assert renewed.status == 200
    assert renewed.text.lstrip().startswith('<section id="live"')


@pytest.mark.parametrize("query", ["where=nowhere", "number=0", "number=201", f"q={'a' * 101}"])
def test_a_list_that_is_not_there_is_said_to_be_none(query: str, page: int) -> None:
    shown = logged_in(page).get(f"/?{query}")
    assert (shown.status, "There is no such list." in shown.text) == (404, True)


def test_the_page_works_on_postgresql(settings: Settings, postgres_sessions: Sessions, clock: FrozenClock) -> None:
    node = Receiver(InstanceStore(settings.instances_dir), postgres_sessions, clock)
    with node.sessions.begin() as session:
        first = receive(session, node.store)
        study = session.get_one(Series, first.series_id).study_id
        receive(session, node.store, StudyInstanceUID=derive_uid("films", "other"), SOPInstanceUID="1.2.3")
    with page_of(settings, node) as port:
        browser = logged_in(port)
        wait_until(lambda: browser.get("/?q=canary").text.count("CANARY, PHI") == 2, "both names are noted")
        assert browser.get("/?q=%00canary").text.count("CANARY, PHI") == 2
        assert browser.get(f"/studies/{study}/films/{first.id}.png").content.startswith(b"\x89PNG")
