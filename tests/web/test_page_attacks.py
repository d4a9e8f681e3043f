"""What strangers, and people who are logged in, try with the page."""

import re
import socket
from itertools import product

import pytest
from drafted_study import add_drafted
from page_browser import PASSWORD, Browser, logged_in
from rows import all_of, receive
from waiting import LONG_S

from dicom_node.config import Settings
from dicom_node.models import Job, Report, Study
from dicom_node.receive.intake import Receiver
from dicom_node.web import forms

SCRIPT = "<script>alert(1)</script>^\"'><img src=x onerror=alert(2)>"
PATHS = (
    "/",
    "/?q=CANARY",
    "/studies/1",
    "/studies/1/withdraw",
    "/studies/1/films/1.png",
    "/studies/1/drafts/1/attention/0.png",
    "/studies/1/deliveries/1",
    "/destinations",
    "/status",
    "/agreement",
    "/setup",
    "/setup/test-study",
    "/settings",
    "/people",
    "/account",
)


@pytest.fixture
def drafted(node: Receiver) -> None:
    with node.sessions.begin() as session:
        add_drafted(session, node)


@pytest.mark.parametrize("cookie", ["", "guess", "' OR 1=1 --", "\x7f"])
@pytest.mark.usefixtures("drafted")
def test_nobody_sees_a_patient_without_logging_in(cookie: str, page: int) -> None:
    stranger = Browser(page)
    if cookie:
        stranger.cookies["dicom-node"] = cookie
    tries = ({}, {"HX_Request": "true"}, {"Authorization": "Bearer x"}, {"X_Forwarded_Proto": "https"})
    for path, headers in product(PATHS, tries):
        shown = stranger.get(path, follow=False, **headers)
        assert shown.status in (303, 401)
        assert b"CANARY" not in shown.content


@pytest.mark.usefixtures("drafted")
def test_a_script_in_a_patients_name_is_text(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        study = session.get_one(Study, 1)
        study.patient_name = study.patient_id = study.accession_number = SCRIPT
        report = session.get_one(Report, 1)
        report.findings = report.indication = SCRIPT
        session.add(study)
        session.add(report)
    browser = logged_in(page, "operator")
    for path in ("/", "/studies/1", "/studies/1/withdraw", f"/?q={SCRIPT.replace(' ', '+').replace('=', '%3D')[:99]}"):
        shown = browser.get(path).text
        assert "alert(" in shown
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown


def test_a_script_in_a_films_name_is_text(page: int, node: Receiver) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, PatientName=SCRIPT, StudyDescription=SCRIPT, InstitutionName=SCRIPT)
    shown = logged_in(page).get("/studies/1").text
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown


@pytest.mark.parametrize(
    "path", ["/", "/login", "/status", "/studies/1", "/studies/7", "/static/page.css", "/healthz", "/nowhere"]
)
def test_every_answer_has_the_headers_that_browsers_obey(path: str, page: int) -> None:
    headers = logged_in(page).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


@pytest.mark.usefixtures("drafted")
def test_no_page_has_a_script_or_a_style_of_its_own(page: int) -> None:
    browser = logged_in(page, "admin")
    for path in (*PATHS[:4], *PATHS[6:], "/studies/1/deliveries/2", "/studies/7"):
        shown = browser.get(path).text
        assert shown.count("<script") == shown.count('<script src="/static/') == 2
        assert "<style" not in shown
        assert " style=" not in shown
        assert re.findall(r"<[^>]*\son\w+\s*=", shown) == []


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1/retry",
        "/studies/1/acknowledge",
        "/studies/1/deliveries/1/resend",
        "/studies/1/withdraw",
        "/destinations/pacs/main/test",
        "/setup/test-study",
        "/people/add",
        "/people/password",
        "/people/disable",
        "/account/password",
        "/logout",
    ],
)
@pytest.mark.usefixtures("drafted")
def test_a_form_that_is_not_ours_is_refused(path: str, page: int, node: Receiver) -> None:
    browser = logged_in(page, "operator")
    other = logged_in(page, "viewer").get("/").csrf
    for csrf in ("", "guess", other):
        assert browser.post(path, csrf=csrf, reason="because").status == 403
    ours = browser.get("/").csrf
    assert browser.post(path, kind="application/json", csrf=ours, reason="because").status == 415
    assert browser.post(path, csrf=ours, reason="because" * 2000).status == 413
    if path not in PATHS:
        assert browser.get(path).status == 405
    assert 'role="search"' in browser.get("/").text
    assert [job.reason for job in all_of(node.sessions, Job)] == [""]


def test_a_form_that_does_not_come_is_not_waited_for(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "LONGEST_S", 0.2)
    head = "POST /logout HTTP/1.1\r\nHost: node\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with socket.create_connection(("127.0.0.1", page), timeout=LONG_S) as silent, silent.makefile("rb") as answer:
        silent.sendall(f"{head}Content-Length: 9\r\n\r\ncsrf=".encode())
        said = answer.read().lower()  # to the end: it is hung up
    assert said.startswith(b"http/1.1 408 ")
    assert b"connection: close" in said
    assert b"the form did not come in time." in said


def test_who_looks_waits_for_nobody_who_writes(page: int, node: Receiver) -> None:
    stranger, browser = Browser(page), logged_in(page)
    stranger.cookies["dicom-node"] = "guess"
    with node.sessions.begin() as session:
        session.connection()
        assert stranger.get("/", follow=False).status == 303
        assert browser.get("/", follow=False).status == 200


def test_a_login_that_another_site_sends_is_refused(page: int) -> None:
    victim = Browser(page)
    assert victim.post("/login", csrf="", name="viewer", password=PASSWORD).status == 403
    assert victim.post("/login", csrf=Browser(page).get("/login").csrf, name="viewer", password=PASSWORD).status == 403


@pytest.mark.parametrize("path", ["{}", "{}/withdraw", "1/films/{}.png", "1/drafts/1/attention/{}.png"])
def test_a_number_that_is_too_long_to_be_read_is_none(path: str, page: int) -> None:
    assert Browser(page).get(f"/studies/{path.format('9' * 5000)}").status == 404


@pytest.mark.parametrize(
    "path", ["films/../../audit.png", "films/..%2f1.png", "films/-1.png", "films/1.png%00", "films/1"]
)
@pytest.mark.usefixtures("drafted")
def test_no_address_leads_out_of_the_storage(path: str, page: int) -> None:
    assert logged_in(page).get(f"/studies/1/{path}").status == 404


def test_what_went_wrong_tells_no_more_than_a_sentence(page: int, node: Receiver, settings: Settings) -> None:
    with node.sessions.begin() as session:
        instance = receive(session)  # without a file
    shown = logged_in(page).get(f"/studies/1/films/{instance.id}.png")
    assert "The film cannot be shown" in shown.text
    assert str(settings.data_dir) not in shown.text
