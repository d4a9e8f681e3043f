"""A study's page: what is shown of it, and what a person may do to it."""

import re
from io import BytesIO

import numpy as np
import pytest
from crowd import Crowd
from doubles import NOON, FrozenClock
from drafted_study import add_drafted
from page_browser import audited_when, logged_in
from PIL import Image
from rows import add_delivery, add_job, add_report, add_study, all_of, receive
from sqlmodel import select
from waiting import in_threads

from dicom_node.config import Settings
from dicom_node.demographics import note_names
from dicom_node.models import Delivery, Instance, Job, Report, Study
from dicom_node.receive.intake import Receiver
from dicom_node.states import DeliveryState, JobState, StudyState
from dicom_node.study_identity import StudyIdentity
from dicom_node.web import study_page


@pytest.fixture
def drafted(node: Receiver) -> None:
    with node.sessions.begin() as session:
        add_drafted(session, node)


@pytest.fixture
def failed(node: Receiver) -> None:
    with node.sessions.begin() as session:
        add_drafted(session, node, JobState.FAILED)


@pytest.mark.usefixtures("drafted")
def test_the_page_shows_whose_study_it_is_where_it_is_and_what_the_draft_says(page: int) -> None:
    shown = logged_in(page).get("/studies/1").text
    for words in ("CANARY, PHI", "CANARY-ID", "1970-01-01", "CANARY-ACC", "MODALITY", "no image for the idle time"):
        assert words in shown
    assert "The <mark>lungs</mark> are clear." in shown
    for words in ("SYNTHETIC TEST MODEL", "Preliminary, not reviewed", "Check: It states a size.", "pacs 0000"):
        assert words in shown
    assert "the RIS said: no such order" in shown


def test_name_and_number_above_the_film_are_the_films(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, PatientName="CANARY^First", PatientID="CANARY-1", PixelData=None)
        film = receive(session, node.store, PatientName="CANARY^Second", PatientID="CANARY-2", SOPInstanceUID="1.2.3")
    note_names(node.sessions, node.store)
    browser = logged_in(page)
    assert _patient_in(browser.get("/studies/1").text) == ("CANARY, Second", "CANARY-2")
    (node.store.root / film.path).unlink()
    with node.sessions.begin() as session:
        StudyIdentity("", "CANARY-3", "", "", "CANARY^Third").remember(session.get_one(Study, 1))
    assert _patient_in(browser.get("/studies/1").text) == ("CANARY, Third", "CANARY-3")


def _patient_in(page: str) -> tuple[str, str]:
    """The name and the patient ID."""
    (found,) = re.findall(r"<h1><bdi>(.*?)</bdi>.*?<dt>ID</dt><dd><bdi>(.*?)</bdi>", page, re.DOTALL)
    return found


@pytest.mark.usefixtures("drafted")
def test_the_film_is_a_small_png_and_so_is_where_the_model_looked(page: int) -> None:
    browser = logged_in(page)
    film, attended = (browser.get(f"/studies/1/{path}") for path in ("films/1.png", "drafts/1/attention/0.png"))
    assert {each.headers["content-type"] for each in (film, attended)} == {"image/png"}
    with Image.open(BytesIO(film.content)) as picture, Image.open(BytesIO(attended.content)) as overlaid:
        assert (picture.mode, picture.size, overlaid.mode) == ("L", (40, 48), "RGB")
    assert browser.get("/studies/1/drafts/1/attention/1.png").status == 422


def test_a_large_film_is_shown_small(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        instance = receive(session, node.store, pixels=np.arange(2100 * 1500, dtype=np.uint16).reshape(2100, 1500))
    film = logged_in(page).get(f"/studies/1/films/{instance.id}.png")
    with Image.open(BytesIO(film.content)) as picture:
        assert max(picture.size) == 1024


@pytest.mark.usefixtures("drafted")
def test_two_films_are_decoded_at_once_and_no_more(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, crowd = logged_in(page), Crowd(lambda *_: b"", expected=6)
    for name in ("film_png", "attended_png"):
        monkeypatch.setattr(study_page, name, crowd)
    paths = iter(3 * ["films/1.png", "drafts/1/attention/0.png"])
    in_threads(lambda: browser.get(f"/studies/1/{next(paths)}"), 6)
    assert 1 <= crowd.largest <= 2


@pytest.mark.parametrize("elements", [{"NumberOfFrames": 2}, {"PhotometricInterpretation": "RGB"}])
def test_a_film_that_cannot_be_shown_is_said_to_be_none(elements: dict[str, object], page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, **elements)
    shown = logged_in(page).get("/studies/1/films/1.png")
    assert (shown.status, "The film cannot be shown" in shown.text) == (422, True)


@pytest.mark.usefixtures("drafted")
def test_a_film_that_is_gone_leaves_the_page_as_it_is(page: int, node: Receiver) -> None:
    for file in node.store.root.glob("??/*"):
        file.unlink()
    browser = logged_in(page)
    assert "The <mark>lungs</mark> are clear." in browser.get("/studies/1").text
    assert browser.get("/studies/1/films/1.png").status == 422


@pytest.mark.usefixtures("drafted")
def test_a_film_that_is_not_the_one_of_the_draft_is_said_to_be_another(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, SOPInstanceUID="1.2.3", ViewPosition="LL")
    browser = logged_in(page)
    shown = browser.get("/studies/1").text
    assert "Draft 1 of object 1 " in shown
    assert "A preview of object 1:" in shown
    assert "The film shown is object" not in shown
    with node.sessions.begin() as session:
        session.get_one(Instance, 1).removed_at = NOON
    shown = browser.get("/studies/1").text
    assert "Draft 1 of object 1 " in shown
    assert "A preview of object 2:" in shown
    assert "The film shown is object 2. The newest draft is of object 1, which is not here any more." in shown


@pytest.mark.usefixtures("drafted")
def test_what_was_sent_is_shown_as_it_was_sent(page: int) -> None:
    browser = logged_in(page)
    sr, oru = (browser.get(f"/studies/1/deliveries/{number}").text for number in (1, 2))
    assert "Modality" in sr
    assert "Pixel Data" in sr
    assert "PID|1||CANARY-ID\nOBX|1|TX|||The lungs are clear." in oru


@pytest.mark.usefixtures("drafted")
def test_what_was_not_encoded_yet_is_said_to_be_nothing(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        for delivery in session.exec(select(Delivery)):
            delivery.payload = None
    browser = logged_in(page)
    for number in (1, 2):
        assert "Nothing was encoded yet." in browser.get(f"/studies/1/deliveries/{number}").text


@pytest.mark.usefixtures("failed")
def test_an_operator_tries_again_and_the_timeline_names_the_person(
    page: int, node: Receiver, settings: Settings
) -> None:
    browser = logged_in(page, "operator")
    before = browser.get("/studies/1")
    assert "Try again" in before.text
    after = browser.post("/studies/1/retry", csrf=before.csrf).text
    assert "operator asked to resend" in after
    assert all_of(node.sessions, Delivery)[1].state == DeliveryState.PENDING
    assert 'EventActionCode="U"' in audited_when(settings, 'EventActionCode="U"')
    again = browser.post("/studies/1/retry", csrf=before.csrf)
    assert (again.status, "only failed and skipped ones can be retried" in again.text) == (409, True)


@pytest.mark.usefixtures("drafted")
def test_an_operator_sends_one_delivery_again(page: int, node: Receiver) -> None:
    browser = logged_in(page, "operator")
    before = browser.get("/studies/1")
    assert before.text.count(">Send again<") == 2
    after = browser.post("/studies/1/deliveries/1/resend", csrf=before.csrf).text
    assert "operator asked to send it to pacs" in after
    assert [each.state for each in all_of(node.sessions, Delivery)] == [DeliveryState.PENDING, DeliveryState.DELIVERED]
    assert browser.post("/studies/1/deliveries/9/resend", csrf=before.csrf).status == 404


@pytest.mark.usefixtures("drafted")
def test_what_was_sent_of_an_older_draft_is_not_sent_again(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        job = add_job(session, session.get_one(Study, 1), state=JobState.DONE, revision=2)
        add_delivery(session, add_report(session, job), state=DeliveryState.DELIVERED)
    browser = logged_in(page, "operator")
    shown = browser.get("/studies/1")
    assert shown.text.count(">Send again<") == 1
    refused = browser.post("/studies/1/deliveries/1/resend", csrf=shown.csrf)
    assert (refused.status, "this delivery cannot be sent again now" in refused.text) == (409, True)


@pytest.mark.usefixtures("failed")
def test_an_operator_leaves_a_failure_as_it_is(page: int, node: Receiver) -> None:
    browser = logged_in(page, "operator")
    before = browser.get("/studies/1")
    assert '/studies/1"' in browser.get("/?where=failed").text
    after = browser.post("/studies/1/acknowledge", csrf=before.csrf, seen=before.seen).text
    assert "seen by operator" in after
    assert "Seen, leave it" not in after
    assert "Try again" in after
    assert "No study is failed." in browser.get("/?where=failed").text
    assert '/studies/1"' in browser.get("/?where=seen").text
    again = browser.post("/studies/1/acknowledge", csrf=before.csrf, seen=before.seen)
    assert (again.status, "that was not seen before" in again.text) == (409, True)


@pytest.mark.usefixtures("failed")
def test_a_failure_that_was_not_shown_is_not_seen(page: int, node: Receiver) -> None:
    browser = logged_in(page, "operator")
    before = browser.get("/studies/1")
    with node.sessions.begin() as session:
        report = session.get_one(Report, 1)
        add_delivery(session, report, destination="other", state=DeliveryState.FAILED, reason="another patient")
    for seen in (before.seen, ""):
        refused = browser.post("/studies/1/acknowledge", csrf=before.csrf, seen=seen)
        assert (refused.status, "the study has changed, look again" in refused.text) == (409, True)
    assert '<a href="/studies/1">To the study</a>' in refused.text
    assert [each.seen_at for each in (*all_of(node.sessions, Job), *all_of(node.sessions, Delivery))] == [None] * 4
    anew = browser.get("/studies/1")
    assert "seen by operator" in browser.post("/studies/1/acknowledge", csrf=anew.csrf, seen=anew.seen).text


@pytest.mark.usefixtures("drafted")
def test_an_operator_withdraws_with_a_reason(page: int, node: Receiver) -> None:
    browser = logged_in(page, "operator")
    asked = browser.get("/studies/1/withdraw")
    fields = {"csrf": asked.csrf, "seen": asked.seen}
    assert "<b>SYNTHETIC TEST MODEL</b> <b>Preliminary, not reviewed</b>" in asked.text
    assert browser.post("/studies/1/withdraw", reason="  \n ", **fields).status == 400
    after = browser.post("/studies/1/withdraw", reason=" another\npatient's film ", **fields).text
    assert "operator withdrew its drafts: another patient&#39;s film" in after
    assert "pacs was not told: it is not in the settings" in after
    assert "Withdrawn" in after
    again = browser.post("/studies/1/withdraw", reason="once more", **fields)
    assert (again.status, "its drafts were withdrawn already" in again.text) == (409, True)


def _listed(page: str) -> list[str]:
    """The drafts that somebody is asked about."""
    return re.findall(r"<li><b>([^<]*)</b>", page)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.DONE])
@pytest.mark.usefixtures("drafted")
def test_a_draft_that_was_not_shown_is_not_withdrawn(state: JobState, page: int, node: Receiver) -> None:
    browser = logged_in(page, "operator")
    asked = browser.get("/studies/1/withdraw")
    assert _listed(asked.text) == ["Draft 1 of object 1"]
    assert "The lungs are clear." in asked.text
    with node.sessions.begin() as session:
        job = add_job(session, session.get_one(Study, 1), state=state, revision=2)
        if state == JobState.DONE:
            add_report(session, job)
    for seen in (asked.seen, ""):
        refused = browser.post("/studies/1/withdraw", csrf=asked.csrf, seen=seen, reason="draft 1 has the wrong side")
        assert (refused.status, "the study has changed, look again" in refused.text) == (409, True)
    assert all(each.withdrawn_at is None for each in all_of(node.sessions, Report))
    anew = browser.get("/studies/1/withdraw")
    both = (
        ["Draft 2 of object 2", "Draft 1 of object 1"]
        if state == JobState.DONE
        else ["Draft 1 of object 1", "The draft that is under way"]
    )
    assert _listed(anew.text) == both
    assert browser.post("/studies/1/withdraw", csrf=anew.csrf, seen=anew.seen, reason="both").status == 200
    assert all(each.withdrawn_at for each in all_of(node.sessions, Report))


@pytest.mark.usefixtures("failed")
def test_a_viewer_looks_and_does_nothing(page: int, node: Receiver) -> None:
    browser = logged_in(page)
    shown = browser.get("/studies/1")
    assert "Try again" not in shown.text
    assert "Withdraw" not in shown.text
    assert "Send again" not in shown.text
    assert browser.get("/studies/1/withdraw").status == 403
    for verb in ("retry", "acknowledge", "deliveries/1/resend", "withdraw"):
        refused = browser.post(f"/studies/1/{verb}", csrf=shown.csrf, reason="because")
        assert (refused.status, "This needs the role operator; yours is viewer." in refused.text) == (403, True)
    assert [job.state for job in all_of(node.sessions, Job)] == [JobState.FAILED]


@pytest.mark.usefixtures("drafted")
def test_whoever_looks_at_a_study_is_in_the_audit_trail(page: int, settings: Settings) -> None:
    logged_in(page).get("/studies/1")
    trail = audited_when(settings, '"110103"')
    (looked,) = (line for line in trail.splitlines() if '"110103"' in line)
    assert 'EventActionCode="R"' in looked
    assert 'UserID="viewer"' in looked
    assert "CANARY-ID" in looked


@pytest.mark.usefixtures("drafted")
def test_what_renews_itself_is_audited_once(page: int, settings: Settings) -> None:
    browser = logged_in(page)
    change = browser.get("/studies/1").text.split("?change=")[1].split('"')[0]
    assert browser.get(f"/studies/1?change={change}", HX_Request="true").status == 204
    for _ in range(3):
        assert browser.get("/studies/1?change=older", HX_Request="true").status == 200
    browser.post("/logout", csrf=browser.get("/").csrf)
    assert audited_when(settings, '"110123"').count('"110103"') == 1


@pytest.mark.usefixtures("drafted")
def test_a_study_that_is_said_to_be_renewed_is_audited_for_each_person(
    page: int, settings: Settings, node: Receiver
) -> None:
    with node.sessions.begin() as session:
        other = add_study(session)
    for name in ("viewer", "operator"):
        browser = logged_in(page, name)
        for path in ("/studies/1", "/studies/1", f"/studies/{other.id}"):
            browser.get(path, HX_Request="true")
    browser.post("/logout", csrf=browser.get("/").csrf)
    assert audited_when(settings, '"110123"').count('"110103"') == 4


@pytest.mark.parametrize("patient_id", ["CANARY-OTHER", ""])
def test_images_of_two_patients_are_told(patient_id: str, page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store)
        receive(session, node.store, PatientID=patient_id, SOPInstanceUID="1.2.3")
    assert "The images of this study name more than one patient." in logged_in(page).get("/studies/1").text


@pytest.mark.parametrize("path", ["2", "0", "99999999999999999999", "2/withdraw", "1/films/2.png", "1/deliveries/9"])
@pytest.mark.usefixtures("drafted")
def test_what_is_not_there_is_said_to_be_absent(path: str, page: int) -> None:
    shown = logged_in(page, "operator").get(f"/studies/{path}")
    assert (shown.status, "There is no such study here" in shown.text) == (404, True)


@pytest.mark.usefixtures("drafted")
def test_one_studys_address_shows_nothing_of_another(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        other = add_study(session)
    browser = logged_in(page)
    for path in ("films/1.png", "deliveries/1", "drafts/1/attention/0.png"):
        assert browser.get(f"/studies/1/{path}").status == 200
        assert browser.get(f"/studies/{other.id}/{path}").status == 404


def test_every_stage_of_a_study_can_be_shown(page: int, node: Receiver, clock: FrozenClock) -> None:
    with node.sessions.begin() as session:
        for state in JobState:
            study = add_study(session, state=StudyState.COMPLETE)
            job = add_job(session, study, state=state)
            if state in (JobState.REPORTED, JobState.DONE):
                add_delivery(session, add_report(session, job))
        add_study(session)
    browser = logged_in(page)
    shown = [browser.get(f"/studies/{number}") for number in range(1, len(JobState) + 2)]
    assert {each.status for each in shown} == {200}
    assert all(each.text.count('class="mark"') == 5 for each in shown)
