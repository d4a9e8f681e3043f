"""What keeps the page's patients private on their way: TLS or no way at all, and headers that browsers obey."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.addresses import is_admitted, is_gateway
from dicom_node.config import Settings
from dicom_node.web.refused import PageRefused

_PROXIES_SAY = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "via")
_PROXIES_SPEAK = "1.0"  # of HTTP: nginx, to what is behind it, unless told otherwise; no browser does
_PLAIN_HTTP = (
    "The page shows patients' names, so it is not sent over plain HTTP to another machine. Set http_tls, or put a "
    "proxy that speaks HTTPS in front, let it send X-Forwarded-Proto: https, and name its address in page_plain_http "
    "unless it is on this machine."
)
_HEADERS = {
    # Nothing but this node's own files; no script in a page; nobody frames it or is sent its forms.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_encrypted(settings: Settings, request: Request) -> bool:
    """Whether the browser speaks HTTPS, with us or with a proxy."""
    return settings.http_tls is not None or request.headers.get("x-forwarded-proto") == "https"


def is_forwarded(headers: Mapping[str, str], http_version: str) -> bool:
    """Whether a request comes through a proxy, as far as one can see."""
    return http_version == _PROXIES_SPEAK or any(name in headers for name in _PROXIES_SAY)


def require_privacy(settings: Settings, request: Request) -> None:
    """Raise PageRefused if others could read the answer on its way."""
    if settings.http_tls is not None:
        return
    is_near = request.client is not None and _is_near(settings, request.client.host)
    by_proxy = is_forwarded(request.headers, request.scope["http_version"])
    if not is_near or (by_proxy and not is_encrypted(settings, request)):
        raise PageRefused(403, _PLAIN_HTTP)


def _is_near(settings: Settings, address: str) -> bool:
    """In a container, what comes to a loopback address of its host comes from there, by the gateway."""
    at = settings.http_published_at
    is_of_host = at is not None and at.is_loopback and is_gateway(address)
    return is_of_host or is_admitted(address, settings.page_plain_http)


class GuardedAnswers:
    """Every answer of the app has the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = "no-cache" if scope["path"].startswith("/static/") else "no-store"
                MutableHeaders(scope=message).update({**_HEADERS, "Cache-Control": kept})
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)
