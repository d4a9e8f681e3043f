"""Coming in by an identity provider: one that nobody here wrote, and one that lies."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from authority import Authority
from doubles import FrozenClock
from foreign import require_peer
from identity_providers import (
    SECRET,
    Forger,
    forging,
    key_of,
    log_in_there,
    oidc_of,
    public_jwk,
    real_provider,
    signed,
)
from page_browser import PASSWORD, Browser, Shown, audited_when, page_of
from playwright.sync_api import expect, sync_playwright
from rows import all_of
from stow_peer import serving
from waiting import free_port

from dicom_node.access.users import disable_user, find_user
from dicom_node.config import Settings
from dicom_node.errors import PeerUnreachable
from dicom_node.identity.provider import CALLBACK, Provider
from dicom_node.models import Access, Login, User
from dicom_node.peers import Oidc
from dicom_node.receive.intake import Receiver


@contextmanager
def node_of(settings: Settings, node: Receiver, oidc: Oidc, port: int = 0) -> Iterator[int]:
    """The port of a page whose people may come in by the provider, too."""
    changes = {"http_port": port, "page_url": f"http://127.0.0.1:{port}", "oidc": oidc}
    with page_of(settings.model_copy(update=changes), node) as bound:
        yield bound


@pytest.fixture
def forger() -> Iterator[Forger]:
    with forging() as forger:
        yield forger


@pytest.fixture
def page_port(settings: Settings, node: Receiver, forger: Forger, tmp_path: Path) -> Iterator[int]:
    """Of a page whose provider is the forger."""
    with node_of(settings, node, oidc_of(forger.issuer, tmp_path)) as port:
        yield port


def leave(browser: Browser) -> str:
    """Where the browser is sent to log in."""
    sent = browser.get("/login/provider", follow=False)
    assert sent.status == 303, sent.text
    return sent.headers["location"]


def come_back(browser: Browser, forger: Forger) -> Shown:
    return browser.get(forger.send_back(leave(browser)))


def is_in(browser: Browser) -> bool:
    return browser.get("/", follow=False).status == 200


def test_people_of_a_real_provider_come_in_with_the_role_they_have_there_and_a_code_is_good_once(
    settings: Settings, node: Receiver, tmp_path: Path
) -> None:
    port = free_port()
    with (
        real_provider(f"http://127.0.0.1:{port}{CALLBACK}") as issuer,
        node_of(settings, node, oidc_of(issuer, tmp_path), port),
    ):
        anna = Browser(port)
        assert "Log in at 127.0.0.1" in anna.get("/login").text
        way_back = log_in_there(leave(anna), "anna")
        attempt = dict(anna.cookies)
        shown = anna.get(way_back)
        assert (shown.status, shown.headers["refresh"]) == (200, "0; url=/"), shown.text
        assert "anna <small>admin</small>" in anna.get("/").text
        assert 'UserID="anna"' in audited_when(settings, '"110122"')

        thief = Browser(port)
        thief.cookies = attempt
        again = thief.get(way_back)
        assert (again.status, is_in(thief)) == (403, False)
        assert "the identity provider refuses this node&#39;s request with HTTP status 400" in again.text

        otto = Browser(port)
        otto.get(log_in_there(leave(otto), "otto"))
        assert "otto <small>operator</small>" in otto.get("/").text
        otto.post("/logout", csrf=otto.get("/").csrf)
        assert not is_in(otto)

        paul = Browser(port)
        refused = paul.get(log_in_there(leave(paul), "paul"))
        assert (refused.status, is_in(paul)) == (403, False)
        assert "none of your roles there lets you in here" in refused.text
    assert {user.name for user in all_of(node.sessions, User)} == {*Access, "anna", "otto"}


def test_what_the_provider_is_asked_for_and_shown_is_by_the_standards(page_port: int, forger: Forger) -> None:
    browser = Browser(page_port)
    login_url = leave(browser)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(login_url).query).items()}
    assert (asked["response_type"], asked["scope"], asked["code_challenge_method"]) == (
        "code",
        "openid profile",
        "S256",
    )
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    browser.get(forger.send_back(login_url))
    assert is_in(browser)
    ((_, shown),) = [each for each in forger.asked if each[0] == "/token"]
    assert shown["authorization"] == ["Basic cGFnZTpzM2NyZXQlMjBvZiUyMHRoZSUyMHBhZ2UlMjE="]
    (verifier,) = shown["code_verifier"]
    assert verifier not in login_url
    digest = urlsafe_b64encode(sha256(verifier.encode()).digest()).decode()
    assert asked["code_challenge"] == digest.rstrip("=")  # RFC 7636 4.2


def test_the_cookie_of_an_attempt_survives_the_way_back_and_that_of_a_login_is_for_our_pages_alone(
    page_port: int, forger: Forger
) -> None:
    browser = Browser(page_port)
    sent = browser.get("/login/provider", follow=False)
    assert "SameSite=lax" in sent.headers["set-cookie"]
    shown = browser.get(forger.send_back(sent.headers["location"]))
    assert "SameSite=strict" in shown.headers["set-cookie"]
    assert "dicom-node-attempt" not in browser.cookies


SHARED = b"a secret of the client, 32 bytes"
SHARED_JWK = {"kty": "oct", "kid": "shared", "use": "sig", "k": urlsafe_b64encode(SHARED).decode().rstrip("=")}
ATTACKS = {
    "not signed": {"sign": lambda claims: jwt.encode(dict(claims), None, "none")},
    "signed with what everybody knows": {
        "sign": lambda claims: jwt.encode(dict(claims), public_jwk("good")["n"], "HS256")
    },
    "signed with a key that we share": {
        "sign": lambda claims: jwt.encode(dict(claims), SHARED, "HS256", {"kid": "shared"}),
        "answers": {"/keys": (200, json.dumps({"keys": [SHARED_JWK]}).encode())},
    },
    "signed by somebody else": {
        "sign": lambda claims: jwt.encode(dict(claims), key_of("thief"), "RS256", {"kid": "good"})
    },
    "signed by a key that is not named": {"sign": lambda claims: signed(claims, "thief")},
    "signed by one of two keys, nobody says which": {
        "sign": lambda claims: jwt.encode(dict(claims), key_of("good"), "RS256")
    },
    "changed after it was signed": {"sign": lambda claims: f"{signed(claims)[:-6]}AAAAAA"},
    "no token": {"sign": lambda claims: "no token"},
    "of another audience": {"changes": {"aud": "mailbox"}},
    "for another application": {"changes": {"aud": ["page", "mailbox"], "azp": "mailbox"}},
    "expired": {"changes": {"exp": 1_700_000_000}},
    "from the future": {"changes": {"iat": 4_000_000_000, "exp": 4_000_000_100}},
    "without an end": {"changes": {"exp": None}},
    "of another issuer": {"changes": {"iss": "https://evil.example"}},
    "of another login": {"changes": {"nonce": "another"}},
    "without a nonce": {"changes": {"nonce": None}},
    "of nobody": {"changes": {"sub": ""}},
    "without a subject": {"changes": {"sub": None}},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_token_that_is_not_as_it_must_be_lets_nobody_in(
    attack: str, page_port: int, forger: Forger, settings: Settings, node: Receiver
) -> None:
    for name, value in ATTACKS[attack].items():
        setattr(forger, name, value)
    browser = Browser(page_port)
    shown = come_back(browser, forger)
    assert (shown.status, is_in(browser)) == (403, False)
    assert "Not logged in: the ID" in shown.text
    assert all_of(node.sessions, Login) == []
    audited_when(settings, 'EventOutcomeIndicator="4"')


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roles": None}, "none of your roles there lets you in here"),
        ({"roles": ["Radiology-Admins"]}, "none of your roles there lets you in here"),
        ({"roles": {"radiology-admins": True}}, "none of your roles there lets you in here"),
        ({"preferred_username": None}, "tells no name for you (claim preferred_username)"),
        ({"preferred_username": ["anna"]}, "tells no name for you (claim preferred_username)"),
        ({"preferred_username": "a b"}, "expected a user name"),
        ({"preferred_username": "Admin"}, "is another user&#39;s of this node"),
    ],
)
def test_who_is_known_there_and_may_not_come_in_is_told_why(
    changes: dict[str, object], words: str, page_port: int, forger: Forger, node: Receiver
) -> None:
    forger.changes = changes
    browser = Browser(page_port)
    shown = come_back(browser, forger)
    assert (shown.status, is_in(browser)) == (403, False)
    assert words in shown.text
    assert all(user.subject is None for user in all_of(node.sessions, User))


def test_a_person_is_known_by_the_subject_and_has_the_role_of_today(
    page_port: int, forger: Forger, node: Receiver
) -> None:
    for name, role in (
        ("anna", "radiology-admins"),
        ("anna", "radiology-admins"),
        ("anna.married", "radiology-readers"),
    ):
        forger.changes = {"preferred_username": name, "roles": ["staff", role]}
        browser = Browser(page_port)
        come_back(browser, forger)
        assert is_in(browser)
    (user,) = [each for each in all_of(node.sessions, User) if each.subject]
    assert (user.name, user.access, user.subject) == ("anna.married", "viewer", f"{forger.issuer} 1234")
    forger.changes = {"sub": "another person", "preferred_username": "anna.married"}
    assert "is another user&#39;s of this node" in come_back(Browser(page_port), forger).text


def test_the_audit_trail_names_a_person_as_the_provider_knows_them(
    page_port: int, forger: Forger, settings: Settings
) -> None:
    browser = Browser(page_port)
    come_back(browser, forger)
    browser.get("/")
    forger.changes = {"preferred_username": "Admin"}
    come_back(Browser(page_port), forger)
    said = audited_when(settings, "is another user").splitlines()
    known = f'UserID="anna" AlternativeUserID="{forger.issuer} 1234"'
    assert [code for code in ("110122", "110112") if any(code in line and known in line for line in said)] == [
        "110122",
        "110112",
    ]
    (refused,) = [line for line in said if "is another user" in line]
    assert f'AlternativeUserID="{forger.issuer} 1234"' in refused


def test_who_comes_in_by_the_provider_has_no_password_here(page_port: int, forger: Forger) -> None:
    come_back(Browser(page_port), forger)
    for password in ("", "the password of nobody", PASSWORD):
        browser = Browser(page_port)
        assert (browser.log_in("anna", password).status, is_in(browser)) == (403, False)


def test_who_is_disabled_here_does_not_come_in_by_the_provider(page_port: int, forger: Forger, node: Receiver) -> None:
    browser = Browser(page_port)
    come_back(browser, forger)
    assert is_in(browser)
    with node.sessions.begin() as session:
        disable_user(session, find_user(session, "anna"), node.clock())
    assert not is_in(browser)
    assert "you are disabled on this node" in come_back(browser, forger).text
    assert not is_in(browser)


@pytest.mark.parametrize("state", ["", "made up", "of another attempt"])
def test_a_login_that_this_browser_did_not_begin_is_refused_before_the_provider_is_asked(
    state: str, page_port: int, forger: Forger
) -> None:
    victim, attacker = Browser(page_port), Browser(page_port)
    way_back = forger.send_back(leave(attacker))
    leave(victim)
    forger.asked.clear()
    path = way_back if state == "of another attempt" else f"{CALLBACK}?code=a-code&state={state.replace(' ', '+')}"
    shown = victim.get(path)
    assert (shown.status, is_in(victim), forger.asked) == (403, False, [])
    assert "was not begun in this browser" in shown.text


def test_who_breaks_off_at_the_provider_is_asked_again(page_port: int, forger: Forger) -> None:
    browser = Browser(page_port)
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    shown = browser.get(f"{CALLBACK}?error=access_denied&error_description=%3Cscript%3E&state={state}")
    assert (shown.status, is_in(browser)) == (403, False)
    assert "the identity provider did not let you in" in shown.text
    assert "script%3E" not in shown.text


AWAY = {
    "gone": {},
    "broken": {"/.well-known/openid-configuration": (500, b"")},
    "no JSON": {"/.well-known/openid-configuration": (200, b"<html>")},
    "another issuer": {"/.well-known/openid-configuration": (200, b'{"issuer": "https://evil.example"}')},
    "sends elsewhere": {"/.well-known/openid-configuration": (302, b"http://127.0.0.1:1/")},
    "endless": {"/.well-known/openid-configuration": (200, b"[" * 2_000_000)},
}


@pytest.mark.parametrize("how", AWAY)
def test_a_provider_that_is_away_is_named_and_a_local_user_comes_in(
    how: str, settings: Settings, node: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with forging() as forger:
        forger.answers.update(AWAY[how])
        issuer = f"http://127.0.0.1:{free_port()}" if how == "gone" else forger.issuer
        with node_of(settings, node, oidc_of(issuer, tmp_path)) as port:
            browser = Browser(port)
            shown = browser.get("/login/provider", follow=False)
            assert shown.status == 503
            assert "Not logged in: the identity provider" in shown.text
            assert "identity_provider_away" in caplog.text
            assert browser.log_in("viewer").status == 200


def test_a_secret_that_the_provider_does_not_take_is_named_there_and_in_the_log(
    page_port: int, forger: Forger, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(page_port)
    forger.answers["/token"] = (401, b'{"error": "invalid_client"}')
    shown = come_back(browser, forger)
    assert (shown.status, is_in(browser)) == (503, False)
    assert "the secret in oidc.client_secret_file: it may have ended (HTTP status 401)" in shown.text
    assert "identity_provider_away" in caplog.text


def test_a_secret_written_by_a_windows_editor_is_read(tmp_path: Path) -> None:
    provider = Provider(oidc_of("https://login.example", tmp_path), "https://node.example")
    as_written = provider._authorization()
    provider.oidc.client_secret_file.write_bytes(f"\ufeff{SECRET}\r\n".encode())
    assert provider._authorization() == as_written
    provider.oidc.client_secret_file.write_bytes(b"\xff")
    with pytest.raises(PeerUnreachable, match=r"oidc\.client_secret_file is not UTF-8"):
        provider._authorization()


@pytest.mark.parametrize("claims", [{"exp": 1_700_000_000}, {"iat": 4_000_000_000, "exp": 4_000_000_100}])
def test_clocks_that_differ_are_named(claims: dict[str, int], page_port: int, forger: Forger) -> None:
    forger.changes = claims
    shown = come_back(Browser(page_port), forger)
    assert "clock are more than 60 s apart; see that both clocks are set" in shown.text


def test_a_provider_that_goes_away_between_the_two_ways_is_named(page_port: int, forger: Forger) -> None:
    browser = Browser(page_port)
    way_back = forger.send_back(leave(browser))
    forger.answers["/token"] = (502, b"")
    shown = browser.get(way_back)
    assert (shown.status, is_in(browser)) == (503, False)
    assert "answers with HTTP status 502" in shown.text


def test_a_provider_is_believed_by_the_certificate_of_the_sites_own_authority_alone(
    settings: Settings, node: Receiver, tmp_path: Path
) -> None:
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    with forging(authority.issue("provider")) as forger:
        trusting = oidc_of(forger.issuer, tmp_path, ca=authority.certificate)
        with node_of(settings, node, trusting) as port:
            browser = Browser(port)
            come_back(browser, forger)
            assert is_in(browser)
    with forging(authority.issue("provider")) as forger:
        careful = oidc_of(forger.issuer, tmp_path, ca=stranger.certificate)
        shown = _of_a_new_node(settings, node, careful)
        assert (shown.status, forger.asked) == (503, [])
        assert "self-signed certificate in certificate chain" in shown.text


def _of_a_new_node(settings: Settings, node: Receiver, oidc: Oidc) -> Shown:
    changed = settings.model_copy(update={"page_url": "http://127.0.0.1:1", "oidc": oidc})
    with serving(changed, node) as port:
        return Browser(port).get("/login/provider", follow=False)


def test_a_secret_that_cannot_be_read_is_named(
    settings: Settings, node: Receiver, forger: Forger, tmp_path: Path
) -> None:
    oidc = oidc_of(forger.issuer, tmp_path, client_secret_file=tmp_path / "nowhere")
    with node_of(settings, node, oidc) as port:
        shown = come_back(Browser(port), forger)
    assert (shown.status, "oidc.client_secret_file cannot be read" in shown.text) == (503, True)


def test_a_new_node_offers_the_provider_before_there_is_any_user(
    settings: Settings, node: Receiver, forger: Forger, tmp_path: Path, clock: FrozenClock
) -> None:
    changes = {"page_url": "http://127.0.0.1:1", "oidc": oidc_of(forger.issuer, tmp_path)}
    with serving(settings.model_copy(update=changes), node) as port:
        browser = Browser(port)
        assert "Log in at 127.0.0.1" in browser.get("/").text
        come_back(browser, forger)
        assert is_in(browser)


def test_a_real_browser_comes_in_by_a_real_provider_and_stays_in(
    settings: Settings, node: Receiver, tmp_path: Path
) -> None:
    """Its cookies are for our own pages alone, and it comes from another site's."""
    program, port = require_peer("chromium"), free_port()
    # Two sites for a browser: localhost and 127.0.0.1.
    page_url = f"http://localhost:{port}"
    with real_provider(f"{page_url}{CALLBACK}") as issuer, sync_playwright() as playwright:
        changes = {"http_port": port, "page_url": page_url, "oidc": oidc_of(issuer, tmp_path)}
        with page_of(settings.model_copy(update=changes), node):
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            expect.set_options(timeout=60_000)
            tab = browser.new_page(base_url=page_url)
            tab.set_default_timeout(60_000)
            tab.goto("/")
            tab.get_by_role("link", name="Log in at 127.0.0.1").click()
            tab.locator("input[name=login]").fill("otto")
            tab.locator("input[name=password]").fill("any")
            tab.locator("button[type=submit]").click()
            tab.get_by_role("button", name="Continue").click()
            expect(tab.locator(".who")).to_contain_text("otto operator", timeout=60_000)
            tab.reload()
            expect(tab.locator(".who")).to_contain_text("otto operator")
            tab.get_by_role("button", name="Log out").click()
            expect(tab.get_by_role("heading", name="Log in")).to_be_visible()
            picture = os.environ.get("PAGE_PICTURES")
            if picture:
                tab.screenshot(path=f"{picture}/login-provider.png")
            browser.close()


def test_a_person_whose_name_has_an_apostrophe_comes_in(page_port: int, forger: Forger) -> None:
    forger.changes = {"preferred_username": "o'brien@hospital.example", "roles": ["radiology-admins"]}
    browser = Browser(page_port)
    come_back(browser, forger)
    assert "o&#39;brien@hospital.example" in browser.get("/people").text
