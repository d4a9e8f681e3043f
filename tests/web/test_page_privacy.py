"""Over which ways the page is sent at all."""

import sys
from contextlib import nullcontext
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from starlette.requests import Request

from dicom_node.addresses import is_gateway
from dicom_node.config import Settings
from dicom_node.peers import Tls
from dicom_node.web import privacy
from dicom_node.web.privacy import is_encrypted, require_privacy
from dicom_node.web.refused import PageRefused

PROXY = (ip_network("10.1.0.5/32"),)
TLS = Tls(certificate="c.pem", key="k.pem", ca="a.pem")  # type: ignore[arg-type]  # pydantic makes paths of them
HTTPS = {"x-forwarded-for": "10.1.2.3", "x-forwarded-proto": "https"}


def request(address: str | None, headers: dict[str, str], http_version: str = "1.1") -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    client = (address, 1) if address else None
    return Request({"type": "http", "http_version": http_version, "headers": raw, "client": client})


@pytest.mark.parametrize(
    ("address", "headers", "changes"),
    [
        ("127.0.0.1", {}, {}),
        ("::1", {}, {}),
        ("127.0.0.1", HTTPS, {}),
        ("127.0.0.1", {"x-forwarded-proto": "https"}, {}),
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
        ("127.0.0.1", {"x-forwarded-proto": "http"}, {}),
        ("127.0.0.1", {"x-forwarded-host": "node.example"}, {}),
        ("127.0.0.1", {"x-real-ip": "10.1.2.3"}, {}),
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


def test_who_speaks_http_1_0_is_a_proxy(settings: Settings) -> None:
    require_privacy(settings, request("127.0.0.1", {"x-forwarded-proto": "https"}, "1.0"))
    with pytest.raises(PageRefused):
        require_privacy(settings, request("127.0.0.1", {}, "1.0"))


ROUTES = (
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    "eth0\t00000000\t010013AC\t0003\t0\t0\t0\t00000000\n"
    "eth0\t000013AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
)


@pytest.mark.skipif(sys.byteorder != "little", reason="the file is that of a little-endian machine")
def test_the_gateway_is_the_default_one(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text(ROUTES)
    assert [is_gateway(each, routes) for each in ("172.19.0.1", "::ffff:172.19.0.1")] == [True, True]
    assert [is_gateway(each, routes) for each in ("172.19.0.2", "0.0.0.0", "127.0.0.1", "fd00::1")] == [False] * 4
    assert not is_gateway("172.19.0.1", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("published_at", "address", "headers", "is_sent"),
    [
        ("127.0.0.1", "172.19.0.1", {}, True),
        ("127.0.0.1", "172.19.0.2", {}, False),  # another container
        ("127.0.0.1", "10.1.2.3", {}, False),
        ("127.0.0.1", "172.19.0.1", {"x-forwarded-for": "10.1.2.3"}, False),
        ("127.0.0.1", "172.19.0.1", HTTPS, True),  # a proxy on the host
        ("0.0.0.0", "172.19.0.1", {}, False),  # where others may come by the gateway, too
        ("10.1.0.9", "172.19.0.1", {}, False),
        (None, "172.19.0.1", {}, False),
    ],
)
def test_in_a_container_the_gateway_is_the_host_while_the_port_is_published_to_it_alone(
    published_at: str | None,
    address: str,
    headers: dict[str, str],
    is_sent: bool,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privacy, "is_gateway", lambda each: each == "172.19.0.1")
    changed = settings.model_copy(update={"http_published_at": ip_address(published_at) if published_at else None})
    with nullcontext() if is_sent else pytest.raises(PageRefused):
        require_privacy(changed, request(address, headers))


def test_cookies_are_for_tls_where_there_is_tls(settings: Settings) -> None:
    plain, by_proxy = request("127.0.0.1", {}), request("127.0.0.1", HTTPS)
    assert [is_encrypted(settings, each) for each in (plain, by_proxy)] == [False, True]
    assert is_encrypted(settings.model_copy(update={"http_tls": TLS}), plain)
