"""The page in a real browser, before a real node: what takes its other roles, and a PACS and a RIS.

Which verb is done where, and by whom, stands in tests/web/page_routes.py.
"""

import re

import pytest
from browsers import WAIT_MS, look, tab
from page_house import House
from playwright.sync_api import Browser, expect

from integration.simulators.ris import acknowledge, answer_with

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_a_film_is_followed_without_a_reload_until_both_peers_have_acknowledged_it(
    house: House, chromium: Browser
) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house.url) as page:
        study = house.send_film()
        row = page.get_by_role("row").filter(has=page.locator(f"a[href='/studies/{study}']"))
        expect(row.get_by_text("done", exact=True)).to_be_visible(timeout=WAIT_MS)
        look(page, "worklist")
        row.get_by_role("link").click()
        expect(page.locator(".stages .done")).to_have_count(5)
        expect(page.locator(".stages")).to_contain_text("pacs 0000, ris AA")
        expect(page.locator(".draft .banner")).to_contain_text("SYNTHETIC TEST MODEL")
        expect(page.locator(".draft .banner")).to_contain_text("Preliminary, not reviewed")
        for image in page.locator("main img").all():
            image.scroll_into_view_if_needed()
            expect(image).not_to_have_js_property("naturalWidth", 0)
        assert page.locator(".attended img").count() > 0
        page.evaluate("scrollTo(0, 0)")
        look(page, "study")
        page.get_by_role("link", name="as sent").last.click()
        expect(page.locator("pre")).to_contain_text(re.compile("OBX\\|"))


def test_an_operator_tries_a_failed_study_again(house: House, chromium: Browser) -> None:
    house.ris.reply = answer_with("AE")
    with tab(chromium, house.url) as page:
        study = house.send_film()
        page.goto(f"/studies/{study}")
        expect(page.locator(".verbs .failed")).to_be_visible(timeout=WAIT_MS)
        look(page, "failed")
        house.ris.reply = acknowledge
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".timeline")).to_contain_text("operator asked to resend")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)


def test_an_operator_withdraws_with_a_reason_and_both_peers_are_told(house: House, chromium: Browser) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house.url) as page:
        page.goto(f"/studies/{house.send_film()}")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("link", name="Withdraw").click()
        expect(page.get_by_label("Why, for the timeline")).to_be_visible()
        look(page, "withdraw")
        page.get_by_label("Why, for the timeline").fill("another patient's film")
        page.get_by_role("button", name="Withdraw").click()
        expect(page.locator(".timeline")).to_contain_text("operator withdrew its drafts: another patient's film")
        expect(page.locator(".draft .list .delivered")).to_have_count(4, timeout=WAIT_MS)
        look(page, "withdrawn")


def test_everything_is_reached_by_keyboard(house: House, chromium: Browser) -> None:
    study = house.send_film()
    with tab(chromium, house.url) as page:
        expect(page.locator(f"a[href='/studies/{study}']")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.type(f"A{study:05}")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("q=A"))
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody a").focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/studies/{study}")


def test_a_page_whose_node_is_away_says_so(house: House, chromium: Browser) -> None:
    with tab(chromium, house.url, "viewer") as page:
        page.context.set_offline(True)
        expect(page.get_by_role("alert")).to_have_text("The node does not answer. What you see may be old.")
        page.context.set_offline(False)
        expect(page.get_by_role("alert")).to_be_hidden()
        page.goto("/login")


def test_each_peer_is_tested_by_a_click(house: House, chromium: Browser) -> None:
    with tab(chromium, house.url) as page:
        page.get_by_role("link", name="Destinations").click()
        for peer, words in (("PACS pacs", "answers C-ECHO"), ("RIS ris", "answers a test message (AA)")):
            page.get_by_role("button", name=f"Test now: {peer}").click()
            expect(page.locator(".peer", has_text=peer)).to_contain_text(words, timeout=WAIT_MS)
        look(page, "destinations")


def test_a_test_study_is_sent_and_followed_to_its_end(house: House, chromium: Browser) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house.url) as page:
        page.get_by_role("link", name="Set-up").click()
        page.get_by_role("link", name="Send a test study").click()
        expect(page.locator("main")).to_contain_text("PACS pacs, RIS ris")
        look(page, "test-study")
        page.get_by_role("button", name="Send the test study").click()
        page.wait_for_url("**/studies/*")
        house.films += 1
        expect(page.get_by_role("heading", name="TEST PATIENT, NOT A PERSON")).to_be_visible()
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("link", name="Set-up").click()
        expect(page.locator(".steps")).to_contain_text("A study has come.")
        look(page, "setup")


def test_one_delivery_is_sent_again_by_a_click(house: House, chromium: Browser) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house.url) as page:
        page.goto(f"/studies/{house.send_film()}")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Send again: oru to ris").click()
        expect(page.locator(".timeline")).to_contain_text("operator asked to send it to ris")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)


def test_a_failure_that_was_seen_leaves_the_list(house: House, chromium: Browser) -> None:
    house.ris.reply = answer_with("AE")
    with tab(chromium, house.url) as page:
        study = house.send_film()
        page.goto(f"/studies/{study}")
        expect(page.locator(".verbs .failed")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Seen, leave it").click()
        expect(page.locator(".timeline")).to_contain_text("seen by operator")
        page.goto("/?where=failed")
        expect(page.locator(f"a[href='/studies/{study}']")).to_have_count(0)
        page.get_by_role("link", name=re.compile("^seen")).click()
        expect(page.locator(f"a[href='/studies/{study}']")).to_be_visible()


def test_the_pages_of_the_node_are_reached_and_worked_by_keyboard(house: House, chromium: Browser) -> None:
    with tab(chromium, house.url) as page:
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
        page.get_by_role("button", name="Test now: RIS ris").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#ris-ris")).to_contain_text("answers a test message", timeout=WAIT_MS)
