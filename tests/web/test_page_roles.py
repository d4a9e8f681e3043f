"""Each role and each page and verb of the page: what is not allowed is neither offered, nor done when it is posted."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from browsers import tab
from page_browser import Browser
from page_routes import ADMIN, ENTRANCES, OPERATOR, PAGES, VERBS, VIEWER, address, allowed, routes_of
from playwright import sync_api
from playwright.sync_api import Page
from rows import all_of
from sqlmodel import SQLModel

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Access, Transition, User
from dicom_node.receive.intake import Receiver
from dicom_node.web.app import make_app
from dicom_node.web.forms import csrf_of

TESTS = Path(__file__).parents[1]
FIELDS = {"name": "viewer", "role": "admin", "password": "another long password", "reason": "another patient's film"}


def routes(settings: Settings, node: Receiver) -> tuple[set[str], set[str]]:
    """Those for a browser: that show something, and that do something."""
    methods = make_app(settings, node).openapi()["paths"]
    of_page = [path for path in methods if not path.startswith(("/dicom-web", "/healthz", "/metrics"))]
    return {path for path in of_page if "get" in methods[path]}, {path for path in of_page if "post" in methods[path]}


def written(sessions: Sessions) -> list[Sequence[SQLModel]]:
    """What a verb would have changed."""
    return [all_of(sessions, table) for table in (Transition, User)]


def verbs_on(page: Page) -> list[str]:
    paths: list[str] = page.eval_on_selector_all(
        "form[method=post]", "all => all.map(each => new URL(each.action).pathname)"
    )
    return paths


def pages_on(page: Page) -> list[str]:
    """Where links and pictures lead to."""
    paths: list[str] = page.eval_on_selector_all(
        "a[href], img", "all => all.map(each => new URL(each.href || each.src).pathname)"
    )
    return [path for path in paths if not path.startswith("/static")]


def test_every_page_and_every_verb_has_its_role(settings: Settings, node: Receiver) -> None:
    pages, verbs = routes(settings, node)
    assert (pages - ENTRANCES, verbs) == (set(PAGES), set(VERBS))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_done_by_a_real_browser(verb: str) -> None:
    file, _, name = VERBS[verb].test.partition("::")
    text = (TESTS / file).read_text(encoding="utf-8")
    body = text.partition(f"\ndef {name}(")[2].partition("\n\n\n")[0]
    assert ".click()" in body or 'press("Enter")' in body


@pytest.mark.parametrize("role", [VIEWER, OPERATOR, ADMIN])
def test_a_role_is_offered_all_that_it_may_see_and_do_and_nothing_else(
    role: Access, busy_page: int, chromium: sync_api.Browser
) -> None:
    pages, verbs = allowed(role)
    seen, done = set(), set()
    with tab(chromium, f"http://127.0.0.1:{busy_page}", role) as page:
        for path in map(address, sorted(pages)):
            assert page.request.get(path).status == 200, path
            if not path.endswith(".png"):
                page.goto(path)
                seen |= routes_of(pages_on(page), PAGES)
                done |= routes_of(verbs_on(page), VERBS)
    assert (seen, done) == (pages, verbs)


@pytest.mark.parametrize("role", [VIEWER, OPERATOR])
def test_what_a_role_may_not_is_refused_also_when_it_is_posted(
    role: Access, busy_page: int, node: Receiver, chromium: sync_api.Browser
) -> None:
    before, (pages, verbs) = written(node.sessions), allowed(role)
    with tab(chromium, f"http://127.0.0.1:{busy_page}", role) as page:
        form = {"csrf": page.locator("[name=csrf]").first.input_value(), **FIELDS}
        asked = {path: page.request.get(address(path)) for path in PAGES.keys() - pages}
        posted = [path for path, verb in VERBS.items() if verb.least and path not in verbs]
        asked |= {f"POST {path}": page.request.post(address(path), form=form) for path in posted}
        for path, answer in asked.items():
            assert (answer.status, "This needs the role" in answer.text()) == (403, True), path
    assert written(node.sessions) == before


def test_who_is_not_logged_in_sees_and_does_nothing(busy_page: int, node: Receiver) -> None:
    before, stranger = written(node.sessions), Browser(busy_page)
    stranger.cookies["dicom-node"] = "a guess"
    for path in map(address, PAGES):
        shown = stranger.get(path, follow=False)
        assert (shown.status, shown.headers["location"]) == (303, "/login"), path
    for path in (address(path) for path, verb in VERBS.items() if verb.least):
        assert stranger.post(path, follow=False, csrf=csrf_of("a guess"), **FIELDS).status == 303, path
        assert stranger.post(path, follow=False, **FIELDS).status == 403, path
    assert written(node.sessions) == before
