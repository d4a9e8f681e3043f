"""The page in a real browser, before a real node: a film is sent, followed, tried again and withdrawn."""

import re
from pathlib import Path

import pytest
from page_house import NARROW, WAIT_MS, WIDE, House, is_wider_than_the_screen, picture, tab
from playwright.sync_api import Browser, expect

from integration.simulators.ris import acknowledge, answer_with

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_a_film_is_followed_without_a_reload_until_both_peers_have_acknowledged_it(
    house: House, chromium: Browser, tmp_path: Path
) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house) as page:
        study = house.send_film()
        row = page.get_by_role("row").filter(has=page.locator(f"a[href='/studies/{study}']"))
        expect(row.get_by_text("done", exact=True)).to_be_visible(timeout=WAIT_MS)
        picture(page, "worklist", tmp_path)
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
        picture(page, "study", tmp_path)
        page.get_by_role("link", name="as sent").last.click()
        expect(page.locator("pre")).to_contain_text(re.compile("OBX\\|"))


def test_an_operator_tries_a_failed_study_again(house: House, chromium: Browser, tmp_path: Path) -> None:
    house.ris.reply = answer_with("AE")
    with tab(chromium, house) as page:
        study = house.send_film()
        page.goto(f"/studies/{study}")
        expect(page.locator(".verbs .failed")).to_be_visible(timeout=WAIT_MS)
        picture(page, "failed", tmp_path)
        house.ris.reply = acknowledge
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".timeline")).to_contain_text("operator asked to resend")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)


def test_an_operator_withdraws_with_a_reason_and_both_peers_are_told(
    house: House, chromium: Browser, tmp_path: Path
) -> None:
    house.ris.reply = acknowledge
    with tab(chromium, house) as page:
        page.goto(f"/studies/{house.send_film()}")
        expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("link", name="Withdraw").click()
        picture(page, "withdraw", tmp_path)
        page.get_by_label("Why, for the timeline").fill("another patient's film")
        page.get_by_role("button", name="Withdraw").click()
        expect(page.locator(".timeline")).to_contain_text("operator withdrew its drafts: another patient's film")
        expect(page.locator(".draft .list .delivered")).to_have_count(4, timeout=WAIT_MS)
        picture(page, "withdrawn", tmp_path)


def test_a_viewer_is_offered_nothing_to_do(house: House, chromium: Browser) -> None:
    study = house.send_film()
    with tab(chromium, house, "viewer") as page:
        page.goto(f"/studies/{study}")
        expect(page.locator(".verbs .done, .verbs .failed")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator("main button, main .button")).to_have_count(0)


def test_everything_is_reached_by_keyboard(house: House, chromium: Browser) -> None:
    study = house.send_film()
    with tab(chromium, house) as page:
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_cut_off_on_either_screen(
    scheme: str, size: dict[str, int], house: House, chromium: Browser, tmp_path: Path
) -> None:
    study = house.send_film()
    with tab(chromium, house, "admin", color_scheme=scheme) as page:
        page.set_viewport_size(size)  # type: ignore[arg-type]
        name = f"{scheme}-{size['width']}"
        for path in ("/", f"/studies/{study}", f"/studies/{study}/withdraw", "/login"):
            page.goto(path)
            if path == f"/studies/{study}":
                expect(page.locator(".verbs .done")).to_be_visible(timeout=WAIT_MS)
            assert not is_wider_than_the_screen(page), path
            picture(page, f"{path.replace('/', '-').strip('-') or 'worklist'}-{name}", tmp_path)


def test_a_page_whose_node_is_away_says_so(house: House, chromium: Browser) -> None:
    with tab(chromium, house, "viewer") as page:
        page.context.set_offline(True)
        expect(page.get_by_role("alert")).to_have_text("The node does not answer. What you see may be old.")
        page.context.set_offline(False)
        expect(page.get_by_role("alert")).to_be_hidden()
        page.goto("/login")
