"""Somebody at the page of a composed node, with a real browser: as on the first day."""

import re
import shutil

from composed_node import ADMIN, ADMIN_PASSWORD, CheckFailed
from playwright.sync_api import Error, Page, expect, sync_playwright

_ANSWER_MS = 60_000
_STUDY_MS = 300_000


def click_through(url: str) -> None:
    """Log in, test every destination, send a test study and see it to its end. Raises CheckFailed."""
    expect.set_options(timeout=_ANSWER_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(base_url=url)
            _log_in(page)
            _test_destinations(page)
            _send_test_study(page)
        except (AssertionError, Error) as error:
            raise CheckFailed(f"in the browser: {str(error).splitlines()[0]}") from error
        finally:
            browser.close()


def _log_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(ADMIN)
    page.get_by_label("Password").fill(ADMIN_PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Log out")).to_be_visible()


def _test_destinations(page: Page) -> None:
    page.goto("/destinations")
    buttons = page.get_by_role("button", name=re.compile("^Test now: "))
    for number in range(buttons.count()):
        buttons.nth(number).click()
        expect(page.get_by_text("Answers:")).to_have_count(number + 1)


def _send_test_study(page: Page) -> None:
    page.goto("/setup")
    page.get_by_role("link", name="Send a test study").click()
    page.get_by_role("button", name="Send the test study").click()
    page.wait_for_url(re.compile(r"/studies/\d+$"), timeout=_STUDY_MS)
    expect(page.get_by_text("every destination has the draft").first).to_be_visible(timeout=_STUDY_MS)
