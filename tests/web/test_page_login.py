"""How people come in, and how they are kept out."""

import json
from functools import partial

import pytest
from doubles import FrozenClock
from page_browser import PASSWORD, Browser, audited_when, logged_in, page_of
from rows import all_of, only
from stow_peer import serving

from dicom_node.access.users import disable_user, find_user
from dicom_node.config import Settings
from dicom_node.models import Login, User
from dicom_node.receive.intake import Receiver
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.web import door


def code_in(log: pytest.LogCaptureFixture) -> str:
    lines = (json.loads(record.getMessage()) for record in log.records if "no_user_yet" in record.getMessage())
    return str(next(lines)["code"])


def test_whoever_reads_the_log_makes_the_first_admin_once(
    settings: Settings, node: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings, node) as port:
        browser, code = Browser(port), code_in(caplog)
        asked = browser.get("/")
        assert "The first admin" in asked.text
        fields = {"name": "Anna", "password": PASSWORD, "again": PASSWORD}
        wrong = browser.post("/first-admin", csrf=asked.csrf, code="a guess", **fields)
        assert (wrong.status, all_of(node.sessions, User)) == (403, [])
        made = browser.post("/first-admin", csrf=wrong.csrf, code=code, **fields)
        assert "<h1>Set-up</h1>" in made.text
        other = Browser(port)
        refused = other.post("/first-admin", csrf=other.get("/login").csrf, code=code, **fields)
        assert "there is a user already" in refused.text
    user = only(node.sessions, User)
    assert (user.name, user.access) == ("anna", "admin")
    assert user.password_hash.startswith("$argon2id$")


@pytest.mark.parametrize(("password", "again"), [("short", "short"), (PASSWORD, f"{PASSWORD}!")])
def test_a_first_password_that_will_not_do_costs_nothing(
    password: str, again: str, settings: Settings, node: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings, node) as port:
        browser = Browser(port)
        fields = {"csrf": browser.get("/").csrf, "code": code_in(caplog), "name": "anna"}
        assert browser.post("/first-admin", password=password, again=again, **fields).status == 403
        assert browser.post("/first-admin", password=PASSWORD, again=PASSWORD, **fields).status == 200


def test_a_login_is_kept_by_its_hash_and_is_in_the_audit_trail(page: int, settings: Settings, node: Receiver) -> None:
    browser = Browser(page)
    shown = browser.post("/login", follow=False, csrf=browser.get("/login").csrf, name="Viewer", password=PASSWORD)
    cookie = shown.headers["set-cookie"]
    assert (shown.status, shown.headers["location"]) == (303, "/")
    assert all(words in cookie for words in ("dicom-node=", "HttpOnly", "SameSite=strict"))
    assert browser.cookies["dicom-node"] not in str(only(node.sessions, Login))
    assert 'UserID="Viewer"' in audited_when(settings, '"110122"')


@pytest.mark.parametrize(
    ("name", "password"), [("viewer", "wrong horse battery"), ("nobody", PASSWORD), ("", PASSWORD)]
)
def test_a_wrong_name_and_a_wrong_password_are_answered_alike(
    name: str, password: str, page: int, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(page)
    shown = browser.log_in(name, password)
    assert shown.status == 403
    assert "The name or the password is wrong, or the user is disabled." in shown.text
    assert browser.get("/", follow=False).headers["location"] == "/login"
    assert 'EventOutcomeIndicator="4"' in audited_when(settings, '"110122"')
    assert password not in caplog.text


def test_who_tries_too_often_has_to_wait_and_others_need_not(
    settings: Settings, node: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "RateLimit", partial(RateLimit, timer=lambda: 0.0))
    with page_of(settings, node) as page:
        guesser = Browser(page)
        statuses = [guesser.log_in("viewer", f"guess number {number}").status for number in range(14)]
        assert statuses == [403] * 10 + [429] * 4
        assert guesser.log_in("viewer").status == 429
        assert Browser(page).log_in("operator").status == 200


@pytest.mark.parametrize(
    "names",
    [
        ("viewer", "Viewer", "\N{FULLWIDTH LATIN SMALL LETTER V}iewer", " viewe\N{FULLWIDTH LATIN SMALL LETTER R}"),
        ("no name", "none either!", "", "x" * 65),
    ],
)
def test_a_name_is_tried_as_often_however_it_is_written(
    names: tuple[str, ...], settings: Settings, node: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "RateLimit", partial(RateLimit, timer=lambda: 0.0))
    with page_of(settings, node) as page:
        guesser = Browser(page)
        statuses = [guesser.log_in(name, "a guess too many").status for name in (*names, *names, *names)]
    assert statuses == [403] * 10 + [429] * 2


def test_who_does_nothing_is_logged_out(page: int, settings: Settings, clock: FrozenClock) -> None:
    browser = logged_in(page)
    for _ in range(3):
        clock.forward(settings.page_idle_s - 1)
        assert "Worklist" in browser.get("/").text
    clock.forward(settings.page_idle_s)
    assert browser.get("/", follow=False).headers["location"] == "/login"


def test_a_page_that_renews_itself_keeps_nobody_logged_in(page: int, settings: Settings, clock: FrozenClock) -> None:
    browser = logged_in(page)
    clock.forward(settings.page_idle_s - 1)
    assert browser.get("/", HX_Request="true").status == 200
    clock.forward(1)
    renewed = browser.get("/", HX_Request="true")
    assert (renewed.status, renewed.headers["hx-redirect"], renewed.content) == (401, "/login", b"")


def test_a_login_ends_after_a_shift_whatever_the_person_does(page: int, clock: FrozenClock) -> None:
    browser = logged_in(page)
    for _ in range(36):
        assert browser.get("/", follow=False).status == 200
        clock.forward(20 * 60)
    assert browser.get("/", follow=False).status == 303


def test_who_logs_out_is_out_also_with_a_cookie_that_was_copied(page: int, settings: Settings) -> None:
    browser = logged_in(page)
    copied = Browser(page)
    copied.cookies = dict(browser.cookies)
    assert "Log in" in browser.post("/logout", csrf=browser.get("/").csrf).text
    assert copied.get("/", follow=False).status == 303
    audited_when(settings, '"110123"')


def test_who_is_disabled_is_out_at_once(page: int, node: Receiver) -> None:
    browser = logged_in(page)
    with node.sessions.begin() as session:
        disable_user(session, find_user(session, "viewer"), node.clock())
    assert browser.get("/", follow=False).status == 303
    assert Browser(page).log_in("viewer").status == 403


def test_over_tls_the_cookie_is_for_this_host_and_tls_alone(page: int) -> None:
    shown = Browser(page).get("/login", X_Forwarded_Proto="https", X_Forwarded_For="10.1.2.3")
    assert shown.headers["set-cookie"].startswith("__Host-dicom-node-before-login=")
    assert "Secure" in shown.headers["set-cookie"]


@pytest.mark.parametrize("path", ["/login", "/", "/first-admin", "/studies/1"])
def test_what_a_proxy_hands_on_without_tls_is_refused_loudly(path: str, page: int) -> None:
    shown = Browser(page).get(path, X_Forwarded_For="10.1.2.3")
    assert shown.status == 403
    assert "is not sent over plain HTTP to another machine. Set http_tls" in shown.text


def test_the_files_of_the_page_are_all_that_is_in_their_folder(page: int) -> None:
    assert "htmx" in Browser(page).get("/static/htmx.min.js").text
    for path in ("/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py", "/static//etc/passwd"):
        assert Browser(page).get(path).status == 404
    assert "Zero-Clause BSD" in Browser(page).get("/static/htmx.LICENSE.txt").text
