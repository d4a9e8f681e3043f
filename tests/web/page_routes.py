"""Every page and every verb of the page, with its least role, and the test in which a real browser does it.

test_page_roles.py compares it with the routes of the code: what is added there without a line here fails.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from starlette.routing import compile_path

from dicom_node.models import Access

VIEWER, OPERATOR, ADMIN = Access.VIEWER, Access.OPERATOR, Access.ADMIN
MAY_BE: Mapping[Access, set[Access]] = {
    VIEWER: {VIEWER},
    OPERATOR: {VIEWER, OPERATOR},
    ADMIN: {VIEWER, OPERATOR, ADMIN},
}


class Verb(NamedTuple):
    """What a form does."""

    least: Access | None  # who may do it; None: whoever is not logged in yet
    test: str


_STUDY, _DELIVERY = "/studies/{study_id}", "/studies/{study_id}/deliveries/{delivery_id}"
_WITH_NODE, _ALONE = "system/test_page.py::test_", "web/test_page_clicked.py::test_"

ENTRANCES = {"/login", "/first-admin", "/login/provider", "/login/callback"}
PAGES: Mapping[str, Access] = {
    "/": VIEWER,
    _STUDY: VIEWER,
    f"{_STUDY}/films/{{instance_id}}.png": VIEWER,
    f"{_STUDY}/drafts/{{report_id}}/attention/{{number}}.png": VIEWER,
    _DELIVERY: VIEWER,
    f"{_STUDY}/withdraw": OPERATOR,
    "/destinations": VIEWER,
    "/status": VIEWER,
    "/agreement": VIEWER,
    "/setup": OPERATOR,
    "/setup/test-study": OPERATOR,
    "/rules": OPERATOR,
    "/settings": ADMIN,
    "/people": ADMIN,
    "/account": VIEWER,
}
VERBS: Mapping[str, Verb] = {
    "/first-admin": Verb(None, "system/page_house.py::make_first_admin"),
    "/login": Verb(None, "browsers.py::log_in"),
    "/logout": Verb(VIEWER, f"{_ALONE}who_logs_out_finds_no_patient_by_going_back"),
    "/account/password": Verb(VIEWER, f"{_ALONE}who_changes_the_password_is_logged_out_and_comes_in_by_the_new_one"),
    f"{_STUDY}/retry": Verb(OPERATOR, f"{_WITH_NODE}an_operator_tries_a_failed_study_again"),
    f"{_STUDY}/acknowledge": Verb(OPERATOR, f"{_WITH_NODE}a_failure_that_was_seen_leaves_the_list"),
    f"{_STUDY}/withdraw": Verb(OPERATOR, f"{_WITH_NODE}an_operator_withdraws_with_a_reason_and_both_peers_are_told"),
    f"{_DELIVERY}/resend": Verb(OPERATOR, f"{_WITH_NODE}one_delivery_is_sent_again_by_a_click"),
    "/destinations/{kind}/{name}/test": Verb(OPERATOR, f"{_WITH_NODE}each_peer_is_tested_by_a_click"),
    "/setup/test-study": Verb(OPERATOR, f"{_WITH_NODE}a_test_study_is_sent_and_followed_to_its_end"),
    "/people/add": Verb(ADMIN, f"{_ALONE}an_admin_lets_in_changes_a_password_and_shuts_out"),
    "/people/password": Verb(ADMIN, f"{_ALONE}an_admin_lets_in_changes_a_password_and_shuts_out"),
    "/people/disable": Verb(ADMIN, f"{_ALONE}an_admin_lets_in_changes_a_password_and_shuts_out"),
}
_NUMBERS = {"study_id": "1", "instance_id": "1", "report_id": "1", "delivery_id": "2", "number": "0"}


def address(route: str) -> str:
    """One that is of the route, on a node with one study and a PACS `pacs`."""
    return route.format(kind="pacs", name="pacs", **_NUMBERS)


def routes_of(addresses: Iterable[str], known: Iterable[str]) -> set[str]:
    """The known ones among which the addresses are; an address that is of none is left as it is."""
    patterns = {route: compile_path(route)[0] for route in known}
    return {next((route for route in patterns if patterns[route].match(each)), each) for each in addresses}


def allowed(role: Access) -> tuple[set[str], set[str]]:
    """The pages and the verbs."""
    pages = {route for route, least in PAGES.items() if least in MAY_BE[role]}
    return pages, {route for route, verb in VERBS.items() if verb.least in MAY_BE[role]}
