"""Requests to the identity provider: one at a time, small, timed, and never sent elsewhere by a redirect."""

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.tls import words_of

_TIMEOUT_S = 10.0
_LARGEST_BYTES = 1024 * 1024
_NOT_OURS, _REFUSALS = 401, (400, 403)  # RFC 6749 5.2

Json = Mapping[str, object]


def ask(
    url: str, context: ssl.SSLContext, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Json:
    """The object that is answered to a GET, or with a form to a POST.

    Raises PeerRejected if the provider says no, PeerUnreachable for everything else that is no answer.
    """
    body = urlencode(form).encode() if form is not None else None
    request = Request(url, body, {"Accept": "application/json", **(headers or {})})
    try:
        with build_opener(HTTPSHandler(context=context), _NoRedirect).open(request, timeout=_TIMEOUT_S) as answer:
            return _read(answer)
    except HTTPError as error:
        with error:
            raise _refusal(error) from error
    except (OSError, HTTPException) as error:
        raise PeerUnreachable(f"the identity provider cannot be reached: {_words(error)}") from error


def _words(error: OSError | HTTPException) -> str:
    cause = error.reason if isinstance(error, URLError) else error
    return words_of(cause) if isinstance(cause, OSError) else type(error).__name__


def _read(answer: IO[bytes]) -> Json:
    body = answer.read(_LARGEST_BYTES + 1)
    try:
        found = json.loads(body) if len(body) <= _LARGEST_BYTES else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise PeerUnreachable("the identity provider answers something else than a JSON object")
    return cast(Json, found)


def _refusal(error: HTTPError) -> PeerRejected | PeerUnreachable:
    """Without what it says beside the status: nobody knows what stands there."""
    if error.code == _NOT_OURS:
        words = "the identity provider does not take oidc.client_id with the secret in oidc.client_secret_file"
        return PeerUnreachable(f"{words}: it may have ended (HTTP status 401)")
    if error.code in _REFUSALS:
        return PeerRejected(f"the identity provider refuses this node's request with HTTP status {error.code}")
    return PeerUnreachable(f"the identity provider answers with HTTP status {error.code}")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None
