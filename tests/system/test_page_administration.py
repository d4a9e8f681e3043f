"""What an administrator does on the page, in a real browser: set up, test, send, look after, let people in."""

import re
from pathlib import Path

import pytest
from page_house import NARROW, PASSWORD, WAIT_MS, WIDE, House, is_wider_than_the_screen, picture, tab
from playwright.sync_api import Browser, expect

from integration.simulators.ris import acknowledge, answer_with

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

PAGES = ("/destinations", "/status", "/setup", "/setup/test-study", "/settings", "/people", "/account")


def test_each_peer_is_tested_by_a_click(house: House, chromium: Browser, tmp_path: Path) -> None:
    with tab(chromium, house) as page:
        page.get_by_role("link", name="Destinations").click()
        for peer, words in (("PACS pacs", "answers C-ECHO"), ("RIS ris", "answers a test message (AA)")):
            page.get_by_role("button", name=f"Test {peer} now").click()
            expect(page.locator(".peer", has_text=peer)).to_contain_text(words, timeout=WAIT_MS)
        picture(page, "destinations", tmp_path)


def test_a_test_study_is_sent_and_followed_to_its_end(house: House, chromium: Browser, tmp_path: Path) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house) as page:
        page.get_by_role("link", name="Set-up").click()
        page.get_by_role("link", name="Send a test study").click()
        expect(page.locator("main")).to_contain_text("PACS pacs, RIS ris")
        picture(page, "test-study", tmp_path)
        page.get_by_role("button", name="Send the test study").click()
        page.wait_for_url("**/studies/*")
        house.films += 1
        expect(page.get_by_role("heading", name="TEST PATIENT, NOT A PERSON")).to_be_visible()
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("link", name="Set-up").click()
        expect(page.locator(".steps")).to_contain_text("A study has come.")
        picture(page, "setup", tmp_path)


def test_one_delivery_is_sent_again_by_a_click(house: House, chromium: Browser) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house) as page:
        page.goto(f"/studies/{house.send_film()}")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Send oru to ris again").click()
        expect(page.locator(".timeline")).to_contain_text("operator asked to send it to ris")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)


def test_a_failure_that_was_seen_leaves_the_list(house: House, chromium: Browser) -> None:
    house.ris.reply = answer_with("AE")
    with tab(chromium, house) as page:
        study = house.send_film()
        page.goto(f"/studies/{study}")
        expect(page.locator(".verbs .failed")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Seen, leave it").click()
        expect(page.locator(".timeline")).to_contain_text("seen by operator")
        page.goto("/?where=failed")
        expect(page.locator(f"a[href='/studies/{study}']")).to_have_count(0)
        page.get_by_role("link", name=re.compile("^seen")).click()
        expect(page.locator(f"a[href='/studies/{study}']")).to_be_visible()


def test_an_admin_lets_somebody_in_who_chooses_a_password(house: House, chromium: Browser) -> None:
    with tab(chromium, house, "admin") as page:
        page.get_by_role("link", name="People").click()
        page.get_by_label("Name").fill("berta")
        page.get_by_label("Role").select_option("operator")
        page.get_by_label("First password, 12 characters or more").fill(PASSWORD)
        page.get_by_role("button", name="Let in").click()
        expect(page.get_by_role("row").filter(has_text="berta")).to_contain_text("operator")
    with tab(chromium, house, "berta") as page:
        page.get_by_role("link", name="Your account, berta").click()
        page.get_by_label("The password now").fill(PASSWORD)
        page.get_by_label("New password, 12 characters or more").fill(f"{PASSWORD} too")
        page.get_by_label("The new password again").fill(f"{PASSWORD} too")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_the_new_pages_are_reached_and_worked_by_keyboard(house: House, chromium: Browser) -> None:
    with tab(chromium, house) as page:
        for name, path in (("Destinations", "/destinations"), ("Status", "/status"), ("Set-up", "/setup")):
            page.get_by_role("link", name=name, exact=True).focus()
            page.keyboard.press("Enter")
            page.wait_for_url(f"**{path}")
            expect(page.get_by_role("link", name=name, exact=True)).to_have_attribute("aria-current", "page")
        page.goto("/status")
        page.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("table")).to_be_visible()
        page.goto("/destinations")
        page.get_by_role("button", name="Test RIS ris now").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#ris-ris")).to_contain_text("answers a test message", timeout=WAIT_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_of_the_new_pages_is_cut_off(
    scheme: str, size: dict[str, int], house: House, chromium: Browser, tmp_path: Path
) -> None:
    with tab(chromium, house, "admin", color_scheme=scheme) as page:
        page.set_viewport_size(size)  # type: ignore[arg-type]
        for path in PAGES:
            page.goto(path)
            assert not is_wider_than_the_screen(page), path
            picture(page, f"{path.replace('/', '-').strip('-')}-{scheme}-{size['width']}", tmp_path)
