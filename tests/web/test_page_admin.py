"""The pages for admins: the settings in force, and who may come in; and everybody's own password."""

import re

import pytest
from page_browser import PASSWORD, Browser, audited_when, logged_in, page_of
from pydantic import SecretStr
from waiting import wait_until

from dicom_node.access.users import list_users
from dicom_node.config import Settings
from dicom_node.peers import DicomDestination, Peer
from dicom_node.receive.intake import Receiver
from dicom_node.web.settings_view import lines_of

OTHER = "another long password"
SECRET = "correct-horse-battery-staple"


def test_every_setting_is_listed_and_whether_somebody_set_it() -> None:
    pacs = DicomDestination(name="main", ae_title="PACS", host="10.1.2.3", objects=("sr", "pdf"))
    settings = Settings(port=104, pacs=(pacs,), peers={"CT 1": Peer(assume_chest=True)})
    lines = {line.name: line for line in lines_of(settings)}
    assert (lines["port"].value, lines["port"].is_default) == ("104", False)
    assert (lines["host"].value, lines["host"].is_default) == ("127.0.0.1", True)
    assert (lines["pacs[main].host"].value, lines["pacs[main].objects"].value) == ("10.1.2.3", "sr, pdf")
    assert (lines["pacs[main].port"].is_default, lines["pacs[main].host"].is_default) == (True, False)
    assert (lines["peers.CT 1.assume_chest"].value, lines["ris"].value, lines["tls"].value) == ("true", "none", "none")
    names = {line.name.partition(".")[0].partition("[")[0] for line in lines.values()}
    assert names == set(Settings.model_fields)
    assert all(line.description for line in lines.values())


def test_secrets_are_not_shown(settings: Settings, node: Receiver) -> None:
    secrets = {
        "metrics_token": SecretStr(SECRET),
        "broker_url": SecretStr(f"redis://:{SECRET}@redis"),
        "stow_clients": {"CLIENT": SecretStr(SECRET)},
    }
    with page_of(settings.model_copy(update=secrets), node) as port:
        shown = logged_in(port, "admin").get("/settings").text
    assert SECRET not in shown
    assert shown.count("is set, not shown") == 3
    assert "CLIENT: is set, not shown" in shown


def test_what_is_set_here_can_be_looked_at_alone(page: int) -> None:
    browser = logged_in(page, "admin")
    every, changed = (browser.get(f"/settings{query}").text for query in ("", "?changed=true"))
    assert "max_associations_per_peer" in every
    assert "max_associations_per_peer" not in changed
    assert "data_dir" in changed


@pytest.mark.parametrize("name", ["viewer", "operator"])
@pytest.mark.parametrize("path", ["/settings", "/people"])
def test_only_an_admin_sees_settings_and_people(name: str, path: str, page: int) -> None:
    browser = logged_in(page, name)
    shown = browser.get(path)
    assert (shown.status, "This needs the role admin" in shown.text) == (403, True)
    assert f'href="{path}"' not in browser.get("/").text


@pytest.mark.parametrize("name", ["viewer", "operator"])
@pytest.mark.parametrize("verb", ["add", "password", "disable"])
def test_only_an_admin_changes_people(name: str, verb: str, page: int, node: Receiver) -> None:
    browser = logged_in(page, name)
    fields = {"csrf": browser.get("/").csrf, "name": name, "role": "admin", "password": OTHER}
    assert browser.post(f"/people/{verb}", **fields).status == 403
    assert logged_in(page, name).get("/").status == 200


def test_an_admin_lets_somebody_in_who_changes_the_password(page: int, settings: Settings) -> None:
    admin = logged_in(page, "admin")
    csrf = admin.get("/people").csrf
    assert "berta" in admin.post("/people/add", csrf=csrf, name="Berta", role="operator", password=PASSWORD).text
    assert 'ParticipantObjectID="Berta"' in audited_when(settings, '"110137"')
    berta, elsewhere = logged_in(page, "berta"), logged_in(page, "berta")
    csrf = berta.get("/account").csrf
    wrong = berta.post("/account/password", csrf=csrf, current="a guess", password=OTHER, again=OTHER)
    assert (wrong.status, "The name or the password is wrong" in wrong.text) == (403, True)
    differ = berta.post("/account/password", csrf=csrf, current=PASSWORD, password=OTHER, again=PASSWORD)
    assert (differ.status, "the two new passwords differ" in differ.text) == (409, True)
    short = berta.post("/account/password", csrf=csrf, current=PASSWORD, password="short", again="short")
    assert (short.status, "expected 12 to 256" in short.text) == (409, True)
    done = berta.post("/account/password", csrf=csrf, current=PASSWORD, password=OTHER, again=OTHER)
    assert "Log in" in done.text
    by_berta = '"110137".*UserID="Berta"'
    wait_until(lambda: re.search(by_berta, audited_when(settings, "110137"), re.IGNORECASE), "Berta changed a password")
    assert elsewhere.get("/", follow=False).headers["location"] == "/login"
    assert Browser(page).log_in("berta", OTHER).status == 200
    assert Browser(page).log_in("berta", PASSWORD).status == 403


def test_an_admin_resets_a_password_and_shuts_out(page: int, node: Receiver) -> None:
    admin, viewer = logged_in(page, "admin"), logged_in(page)
    csrf = admin.get("/people").csrf
    admin.post("/people/password", csrf=csrf, name="viewer", password=OTHER)
    assert viewer.get("/", follow=False).status == 303
    assert Browser(page).log_in("viewer", OTHER).status == 200
    assert "disabled 2026-03-01" in admin.post("/people/disable", csrf=csrf, name="viewer").text
    assert Browser(page).log_in("viewer", OTHER).status == 403
    with node.sessions() as session:
        assert [user.name for user in list_users(session) if user.disabled_at] == ["viewer"]


def test_strangers_tries_keep_no_admin_from_shutting_somebody_out(page: int) -> None:
    admin = logged_in(page, "admin")
    csrf, stranger = admin.get("/people").csrf, Browser(page)
    asked = stranger.get("/login").csrf
    while stranger.post("/first-admin", csrf=asked, code="a guess").status != 429:
        pass
    assert admin.post("/people/disable", csrf=csrf, name="viewer").status == 200


@pytest.mark.parametrize(
    ("verb", "fields", "words"),
    [
        ("add", {"name": "viewer", "role": "viewer", "password": OTHER}, "user viewer is there already"),
        ("add", {"name": "berta", "role": "god", "password": OTHER}, "expected one of the roles viewer, operator"),
        ("add", {"name": "<script>", "role": "viewer", "password": OTHER}, "expected a user name"),
        ("add", {"name": "berta", "role": "viewer", "password": "short"}, "a password of 5 characters"),
        ("disable", {"name": "admin"}, "user admin is the only admin"),
        ("password", {"name": "nobody", "password": OTHER}, "no user has that name"),
    ],
)
def test_what_cannot_be_changed_is_said(verb: str, fields: dict[str, str], words: str, page: int) -> None:
    admin = logged_in(page, "admin")
    shown = admin.post(f"/people/{verb}", csrf=admin.get("/people").csrf, **fields)
    assert (shown.status, words in shown.text) == (409, True)


def test_who_lets_somebody_in_by_a_name_that_will_not_do_need_not_choose_the_role_again(page: int) -> None:
    admin = logged_in(page, "admin")
    fields = {"csrf": admin.get("/people").csrf, "name": "anna berta", "role": "operator", "password": PASSWORD}
    shown = admin.post("/people/add", **fields).text
    assert 'name="name" value="anna berta"' in shown
    assert "<option selected>operator</option>" in shown
    assert PASSWORD not in shown
