"""Where a request comes from, behind a proxy that is trusted and behind others."""

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from ipaddress import ip_network

import pytest
from page_browser import PASSWORD, Browser, audited_when, page_of
from pydantic import SecretStr
from stow_peer import STUDIES, Answer, body_of, film
from waiting import LONG_S

from dicom_node.addresses import household_of
from dicom_node.config import Settings
from dicom_node.receive.intake import Receiver

PROXIES = (ip_network("127.0.0.1/32"), ip_network("192.0.2.0/28"))
OTHER_MACHINE = "127.0.0.2"  # which is no proxy


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Of a node behind proxies, that takes studies by token."""
    clients = {"PACS": SecretStr("s3cret-of-the-pacs!")}
    return settings.model_copy(update={"http_proxies": PROXIES, "stow_clients": clients})


@pytest.fixture
def behind(settings: Settings, node: Receiver) -> Iterator[int]:
    """The port of its page."""
    with page_of(settings, node) as port:
        yield port


def visitor(port: int, forwarded_for: str) -> Browser:
    return Browser(port, X_Forwarded_For=forwarded_for, X_Forwarded_Proto="https")


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),  # the first is what the visitor claims
        ("<script>,203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7, 192.0.2.1, 192.0.2.2", "203.0.113.7"),  # by three proxies
        ("192.0.2.1, 192.0.2.2", "192.0.2.1"),  # a proxy itself
        ("203.0.113.7, , ", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("127.0.0.1", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_audit_trail_has_the_right_most_address_that_is_no_proxy(
    forwarded_for: str, address: str, behind: int, settings: Settings
) -> None:
    assert Answer(behind, X_Forwarded_For=forwarded_for).status == 401
    refused = audited_when(settings, "request refused 401")
    assert f'NetworkAccessPointID="{address}"' in refused


def test_several_headers_are_one_list(behind: int, settings: Settings) -> None:
    with closing(HTTPConnection("127.0.0.1", behind, timeout=LONG_S)) as connection:
        connection.putrequest("POST", STUDIES)
        connection.putheader("X-Forwarded-For", "6.6.6.6")
        connection.putheader("X-Forwarded-For", "203.0.113.7")
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        assert connection.getresponse().status == 401
    assert 'NetworkAccessPointID="203.0.113.7"' in audited_when(settings, "request refused 401")


def test_others_are_not_believed(behind: int, settings: Settings) -> None:
    connection = HTTPConnection("127.0.0.1", behind, timeout=LONG_S, source_address=(OTHER_MACHINE, 0))
    with closing(connection):
        connection.request("POST", STUDIES, headers={"X-Forwarded-For": "203.0.113.7"})
        assert connection.getresponse().status == 401
    trail = audited_when(settings, "request refused 401")
    assert f'NetworkAccessPointID="{OTHER_MACHINE}"' in trail
    assert "203.0.113.7" not in trail


def test_who_guesses_behind_a_proxy_keeps_nobody_else_out(behind: int, settings: Settings) -> None:
    guesser = visitor(behind, "203.0.113.7")
    statuses = [guesser.log_in("viewer", f"guess number {number}").status for number in range(14)]
    assert statuses[:10] == [403] * 10
    assert 429 in statuses[10:]  # each half minute one more is let through: slow machines see that
    assert visitor(behind, "203.0.113.7, 203.0.113.8").log_in("viewer").status == 200
    assert 'NetworkAccessPointID="203.0.113.8"' in audited_when(settings, "203.0.113.8")


@pytest.mark.parametrize("named", [(), (ip_network("192.0.2.0/28"),)])
def test_who_stands_behind_a_proxy_that_is_not_named_is_the_proxy(
    named: tuple[object, ...], settings: Settings, node: Receiver
) -> None:
    with page_of(settings.model_copy(update={"http_proxies": named}), node) as port:
        visitor(port, "203.0.113.7").log_in("viewer", "a guess")
    assert 'NetworkAccessPointID="127.0.0.1"' in audited_when(settings, "The name or the password is wrong")


@pytest.mark.parametrize(
    "forwarded_for",
    ["unknown", "203.0.113.7, unknown", "fe80::1%eth0", "203.0.113.999", "203.0.113.7 1.2.3.4", "[2001:db8::7", "1"],
)
def test_what_is_no_address_is_refused_loudly(forwarded_for: str, behind: int) -> None:
    shown = visitor(behind, forwarded_for).log_in("viewer", PASSWORD)
    assert (shown.status, "X-Forwarded-For that is no list of addresses" in shown.text) == (400, True)
    stored = Answer(behind, body_of(film()), X_Forwarded_For=forwarded_for, Authorization="Bearer s3cret-of-the-pacs!")
    assert stored.status == 400


def test_nobody_is_this_machine_by_saying_so(settings: Settings, node: Receiver) -> None:
    with page_of(settings.model_copy(update={"stow_clients": {}}), node) as port:
        assert Answer(port, body_of(film()), X_Forwarded_For="127.0.0.1").status == 403
        assert Answer(port, path="/metrics", method="GET", X_Forwarded_For="127.0.0.1").status == 403


@pytest.mark.parametrize(
    ("address", "household"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_tries_are_counted_by_household(address: str, household: str) -> None:
    assert household_of(address) == household
