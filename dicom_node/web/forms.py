"""What a browser sends with a form: small, and only from a page of ours."""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl

from anyio import fail_after
from starlette.requests import Request

from dicom_node.web.refused import REQUEST_TIMEOUT, PageRefused

_TYPE = "application/x-www-form-urlencoded"
_LARGEST_BYTES = 8 * 1024
_MOST_FIELDS = 20
LONGEST_S = 10  # for the whole body: until it is here, nobody has asked who sends it
CSRF_FIELD = "csrf"
Form = Mapping[str, str]


def csrf_of(cookie: str) -> str:
    """What a form of ours holds for a browser with this cookie; nobody who does not know the cookie can make it."""
    return hmac.new(cookie.encode(), b"form", sha256).hexdigest()


async def read_form(request: Request, cookie: str) -> Form:
    """The fields. Raises PageRefused for what is no form of ours: its CSRF token is not the cookie's."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise PageRefused(415, "A form was expected.")
    try:
        with fail_after(LONGEST_S):
            form = _parse(await _body(request))
    except TimeoutError as error:
        raise PageRefused(REQUEST_TIMEOUT, "The form did not come in time.") from error
    if not cookie or not hmac.compare_digest(form.get(CSRF_FIELD, "").encode(), csrf_of(cookie).encode()):
        raise PageRefused(403, "This form does not come from a page of this node, or the page is old: load it again.")
    return form


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise PageRefused(413, "The form is too large.")
    return bytes(body)


def _parse(body: bytes) -> Form:
    try:
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError as error:
        raise PageRefused(400, "The form cannot be read.") from error
