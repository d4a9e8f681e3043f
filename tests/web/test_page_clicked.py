"""What people do on the page with a real browser and no other role of the node: people, passwords, rules."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import PASSWORD, log_in, tab
from doubles import NOON
from identity_providers import oidc_of
from page_browser import page_of
from playwright.sync_api import Browser, expect
from rows import receive

from dicom_node.access.users import admit, find_user
from dicom_node.config import Settings
from dicom_node.lifecycle import note
from dicom_node.models import Access, Study
from dicom_node.receive.intake import Receiver

OTHER = "another long password"
RULES = """rules:
- {name: children, when: {institution_name: "*children*"}, read: no}
- {name: emergency, when: {calling_ae: MOD*}, priority: stat}
"""


@pytest.fixture
def url(page: int) -> str:
    return f"http://127.0.0.1:{page}"


def test_who_logs_out_finds_no_patient_by_going_back(url: str, node: Receiver, chromium: Browser) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store)
    with tab(chromium, url, "viewer") as page:
        page.get_by_role("table").get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("PHI")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        page.go_back()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert "PHI" not in page.content()


def test_who_changes_the_password_is_logged_out_and_comes_in_by_the_new_one(url: str, chromium: Browser) -> None:
    with tab(chromium, url, "viewer") as page:
        page.get_by_role("link", name="Your account, viewer").click()
        page.get_by_label("The password now").fill(PASSWORD)
        page.get_by_label("New password, 12 characters or more").fill(OTHER)
        page.get_by_label("The new password again").fill(OTHER)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        log_in(page, "viewer", OTHER)


def test_an_admin_lets_in_changes_a_password_and_shuts_out(url: str, chromium: Browser) -> None:
    with tab(chromium, url, "admin") as admin:
        admin.get_by_role("link", name="People").click()
        admin.get_by_label("Name").fill("berta")
        admin.get_by_label("Role").select_option("operator")
        admin.get_by_label("First password, 12 characters or more").fill(PASSWORD)
        admin.get_by_role("button", name="Let in").click()
        row = admin.get_by_role("row").filter(has_text="berta")
        expect(row).to_contain_text("operator")
        with tab(chromium, url, "berta") as berta:
            berta.goto("/account")  # which does not renew itself
            row.get_by_label("Change berta").click()
            row.get_by_label("New password").fill(OTHER)
            row.get_by_role("button", name="Set the password").click()
            expect(row.get_by_label("New password")).to_be_hidden()  # of the page anew
            berta.reload()
            expect(berta.get_by_role("heading", name="Log in")).to_be_visible()
            log_in(berta, "berta", OTHER)
            berta.goto("/account")
            row.get_by_label("Change berta").click()
            row.get_by_role("button", name="Shut out").click()
            expect(row).to_contain_text("disabled")
            berta.reload()
            expect(berta.get_by_role("heading", name="Log in")).to_be_visible()


def test_who_is_at_a_button_or_link_stays_there_when_the_page_renews_itself(
    busy_page: int, node: Receiver, chromium: Browser
) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "operator") as page:
        for number, path in enumerate(("/", "/studies/1")):
            page.goto(path)
            places = page.locator("#live :is(a, button)")
            assert places.count() > 3
            names = [place.inner_text() for place in places.all() if not place.get_attribute("id")]
            assert names == [], "what has no id loses the focus"
            places.last.focus()
            with node.sessions.begin() as session:
                note(session, session.get_one(Study, 1), NOON, f"change {number}")
            with page.expect_response(lambda answer: "?" in answer.url and answer.status == 200):
                pass
            expect(places.last).to_be_focused()


def test_a_film_is_loaded_once_and_stays_while_the_page_renews_itself(
    busy_page: int, node: Receiver, chromium: Browser
) -> None:
    with tab(chromium, f"http://127.0.0.1:{busy_page}", "viewer") as page:
        loaded: list[str] = []
        page.on("request", lambda asked: loaded.append(asked.url) if asked.url.endswith(".png") else None)
        page.goto("/studies/1")
        film = page.get_by_alt_text("Preview of object 1", exact=True)
        expect(film).not_to_have_js_property("naturalWidth", 0)
        page.locator(".attended img").scroll_into_view_if_needed()
        expect(page.locator(".attended img")).not_to_have_js_property("naturalWidth", 0)
        with node.sessions.begin() as session:
            note(session, session.get_one(Study, 1), NOON, "something else")
        expect(page.locator(".timeline")).to_contain_text("something else")
        expect(film).not_to_have_js_property("naturalWidth", 0)
        assert len(loaded) == 2


def test_a_film_that_cannot_be_shown_says_so_in_its_place(url: str, node: Receiver, chromium: Browser) -> None:
    with node.sessions.begin() as session:
        receive(session, node.store, NumberOfFrames=2)
    context = chromium.new_context(base_url=url)
    page = context.new_page()  # whose console may complain
    log_in(page, "viewer")
    page.goto("/studies/1")
    expect(page.get_by_alt_text("The film cannot be shown here: it is no single grey-scale image")).to_be_visible()
    context.close()


@pytest.fixture
def provided(settings: Settings, node: Receiver, tmp_path: Path) -> Iterator[str]:
    """The address of a page whose people come in by an identity provider, too; anna has."""
    changes = {"page_url": "http://127.0.0.1:1", "oidc": oidc_of("http://127.0.0.1:2", tmp_path)}
    with page_of(settings.model_copy(update=changes), node) as port:
        with node.sessions.begin() as session:
            admit(session, "its anna", "anna", Access.OPERATOR, node.clock())
        yield f"http://127.0.0.1:{port}"


def test_who_comes_in_by_the_identity_provider_is_given_no_password_here(
    provided: str, node: Receiver, chromium: Browser
) -> None:
    with tab(chromium, provided, "admin") as page:
        page.get_by_role("link", name="People").click()
        expect(page.locator("main")).to_contain_text("People of the identity provider 127.0.0.1 need not be let in")
        expect(page.get_by_role("heading", name="Let a user of this node alone in, or in again")).to_be_visible()
        anna = page.get_by_role("row").filter(has_text="by the identity provider")
        anna.get_by_label("Change anna").click()
        expect(anna.locator("input[type=password]")).to_have_count(0)
        anna.get_by_role("button", name="Shut out").click()
        expect(anna).to_contain_text("disabled")
        anna.get_by_role("button", name="Let in again: anna").click()
        expect(anna).to_contain_text("yes")
    with node.sessions() as session:
        user = find_user(session, "anna")
    assert (user.access, user.password_hash, user.disabled_at) == (Access.OPERATOR, "", None)


def test_the_page_shows_the_rules_as_they_change_and_which_of_them_takes_a_study(
    settings: Settings, node: Receiver, chromium: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULES)
    with node.sessions.begin() as session:
        receive(session, node.store, InstitutionName="City Hospital")
    with (
        page_of(settings.model_copy(update={"rules_file": file}), node) as port,
        tab(chromium, f"http://127.0.0.1:{port}") as page,
    ):
        page.get_by_role("link", name="Rules").click()
        expect(page.get_by_role("row").filter(has_text="children")).to_contain_text("it is not to be read")
        page.get_by_label("The study's number").fill("1")
        page.get_by_role("button", name="Ask").click()
        answer = page.get_by_role("status")
        expect(answer).to_contain_text("rule emergency took it: priority stat")
        expect(answer).to_contain_text("institution name City Hospital is not like *children*")

        file.write_text(RULES.replace("*children*", "city*"))
        page.reload()
        expect(answer).to_contain_text("rule children took it: it is not to be read")
        file.write_text(RULES.replace("priority", "prio"))
        page.reload()
        expect(page.get_by_role("alert").filter(has_text="prio is not known here")).to_be_visible()
        expect(answer).to_contain_text("rule children took it")
