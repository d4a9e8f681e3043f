"""A real browser before a page of the node."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from foreign import require_peer
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

PASSWORD = "correct horse battery"
WAIT_MS = 120_000  # for a draft, on a slow machine
# The same screen at 100, 200 and 400 %; the last is a small phone, too.
WIDE, NARROW, NARROWEST = {"width": 1280, "height": 900}, {"width": 640, "height": 450}, {"width": 320, "height": 225}
_PAGE_MS = 30_000  # the browser's own 5 s pass while others work

# What makes the page wider than the screen: all that reaches over its right edge.
_TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const isOver = (each) => each.getBoundingClientRect().right > root.clientWidth + 1;
  const over = [...document.querySelectorAll("body, body *")].filter(isOver);
  return over.length ? over.map((each) => each.outerHTML.slice(0, 80)) : [`${root.scrollWidth} px`];
}"""
# Text of less contrast than WCAG 2.2 AA wants (1.4.3), and how much it has.
_TOO_FAINT = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const [r, g, b, alpha = 1] = numbers(getComputedStyle(element).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const contrast = (colour, element) => {
    const [less, more] = [light(numbers(colour)), light(ground(element))].sort((a, b) => a - b);
    return (more + 0.05) / (less + 0.05);
  };
  const hasText = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const faint = [];
  for (const each of document.body.querySelectorAll("*")) {
    if (!each.checkVisibility()) continue;
    const style = getComputedStyle(each), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const colours = hasText(each) ? [each instanceof SVGElement ? style.fill : style.color] : [];
    if (each.placeholder) colours.push(getComputedStyle(each, "::placeholder").color);
    for (const colour of colours) {
      const found = contrast(colour, each);
      if (found < least) faint.push(`${found.toFixed(2)}: ${each.outerHTML.slice(0, 80)}`);
    }
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = require_peer("chromium")
    expect.set_options(timeout=_PAGE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def tab(chromium: Browser, url: str, name: str = "operator") -> Iterator[Page]:
    """A tab of somebody who is logged in. Nothing that the browser blocks or fails to load goes unnoticed."""
    context = chromium.new_context(base_url=url, viewport=WIDE)  # type: ignore[arg-type]
    page, complaints = context.new_page(), []
    page.set_default_timeout(WAIT_MS)
    page.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    log_in(page, name)
    yield page
    assert complaints == []
    context.close()


def log_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Log out")).to_be_visible()


def _is_complaint(message: ConsoleMessage) -> bool:
    """A network that was away for a moment is none, nor is what htmx then says."""
    of_network = ("net::ERR_", "htmx:sendError", "htmx:afterRequest")
    return message.type == "error" and not any(words in message.text for words in of_network)


def look(page: Page, name: str) -> None:
    """Nothing is cut off, and everything can be read, on each screen and in either scheme.

    PAGE_PICTURES=FOLDER keeps pictures of it, for README and for whoever wants to look.
    """
    page.wait_for_load_state()  # its words can be there before its colours
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for size in (NARROWEST, NARROW, WIDE):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        too_wide = page.evaluate(_TOO_WIDE)
        assert too_wide == [], f"{name}, {size['width']} wide: {too_wide}"
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            too_faint = page.evaluate(_TOO_FAINT)
            assert too_faint == [], f"{name}, {scheme}: {too_faint}"
            if folder := os.environ.get("PAGE_PICTURES"):
                page.screenshot(path=f"{folder}/{name}-{scheme}-{size['width']}.png", full_page=True)
