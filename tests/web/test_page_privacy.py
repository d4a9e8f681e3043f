"""Over which ways the page is sent at all."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from dicom_node.config import Settings
from dicom_node.peers import Tls
from dicom_node.web.privacy import is_encrypted, require_privacy
from dicom_node.web.refused import PageRefused

PROXY = (ip_network("10.1.0.5/32"),)
TLS = Tls(certificate="c.pem", key="k.pem", ca="a.pem")  # type: ignore[arg-type]  # pydantic makes paths of them
HTTPS = {"x-forwarded-for": "10.1.2.3", "x-forwarded-proto": "https"}


def request(address: str | None, headers: dict[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (address, 1) if address else None})


@pytest.mark.parametrize(
    ("address", "headers", "changes"),
    [
        ("127.0.0.1", {}, {}),
        ("::1", {}, {}),
        ("127.0.0.1", HTTPS, {}),
        ("10.1.0.5", HTTPS, {"page_plain_http": PROXY}),
        ("10.1.2.3", {}, {"http_tls": TLS}),
    ],
)
def test_it_is_sent_to_this_machine_by_tls_and_to_a_proxy_that_speaks_it(
    address: str, headers: dict[str, str], changes: dict[str, object], settings: Settings
) -> None:
    require_privacy(settings.model_copy(update=changes), request(address, headers))


@pytest.mark.parametrize(
    ("address", "headers", "changes"),
    [
        ("10.1.2.3", {}, {}),
        ("10.1.2.3", HTTPS, {}),
        (None, {}, {}),
        ("127.0.0.1", {"x-forwarded-for": "10.1.2.3"}, {}),
        ("127.0.0.1", {"forwarded": "for=10.1.2.3", "x-forwarded-proto": "http"}, {}),
        ("10.1.0.6", HTTPS, {"page_plain_http": PROXY}),
        ("10.1.0.5", {"via": "1.1 proxy"}, {"page_plain_http": PROXY}),
    ],
)
def test_it_is_not_sent_where_others_could_read_it(
    address: str | None, headers: dict[str, str], changes: dict[str, object], settings: Settings
) -> None:
    with pytest.raises(PageRefused, match="is not sent over plain HTTP to another machine") as refused:
        require_privacy(settings.model_copy(update=changes), request(address, headers))
    assert refused.value.status == 403


def test_cookies_are_for_tls_where_there_is_tls(settings: Settings) -> None:
    plain, by_proxy = request("127.0.0.1", {}), request("127.0.0.1", HTTPS)
    assert [is_encrypted(settings, each) for each in (plain, by_proxy)] == [False, True]
    assert is_encrypted(settings.model_copy(update={"http_tls": TLS}), plain)
