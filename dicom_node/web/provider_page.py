"""Coming in by the identity provider: to its login, and back with its answer."""

import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from fastapi import APIRouter
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response

from dicom_node import logs
from dicom_node.access.logins import log_in
from dicom_node.access.users import admit
from dicom_node.audit_messages import LOGIN
from dicom_node.errors import NodeError, PeerRejected, PeerUnreachable, Permanent
from dicom_node.identity.attempt import Attempt
from dicom_node.identity.id_token import Identity
from dicom_node.identity.provider import CALLBACK, Provider
from dicom_node.peers import Oidc
from dicom_node.web.login_page import blank, to
from dicom_node.web.page import Page
from dicom_node.web.privacy import require_privacy

_MOST_AT_ONCE = 4  # requests to a provider that may hang: the rest of the page needs its threads
_NOBODY = "unknown"  # in the audit trail: who it is was not said yet
_NOT_BEGUN_HERE = "This login was not begun in this browser, or too long ago: begin again"

_log = logs.get("oidc")


def make_router(page: Page, oidc: Oidc) -> APIRouter:
    router = APIRouter()
    door = _ProviderDoor(page, Provider(oidc, page.settings.page_url or ""))

    @router.get("/login/provider")
    def leave(request: Request) -> Response:
        door.require_calm(request)
        try:
            attempt = Attempt.begin()
            response = to(door.login_url(attempt))
        except NodeError as error:
            return door.refuse(request, error)
        page.door.give_attempt(request, response, attempt.secret)
        return response

    @router.get(CALLBACK)
    def come_back(request: Request, state: str = "", code: str = "") -> Response:
        door.require_calm(request)
        try:
            identity = door.identify(Attempt(page.door.attempt(request)), state, code)
        except NodeError as error:
            return door.refuse(request, error)
        try:
            return door.let_in(request, identity)
        except Permanent as error:
            return door.refuse(request, error, identity.name, identity.subject)

    return router


class _ProviderDoor:
    """Asks the provider, lets people in or says why not, and tells the audit trail."""

    def __init__(self, page: Page, provider: Provider) -> None:
        self._page = page
        self._provider = provider
        self._places = threading.Semaphore(_MOST_AT_ONCE)

    def require_calm(self, request: Request) -> None:
        require_privacy(self._page.settings, request)
        self._page.door.require_calm(request)

    def login_url(self, attempt: Attempt) -> str:
        with self._place():
            return self._provider.login_url(attempt)

    def identify(self, attempt: Attempt, state: str, code: str) -> Identity:
        """Who comes back. Raises NodeError. The state is looked at first: others may have sent the browser here."""
        if not attempt.secret or not hmac.compare_digest(state.encode(), attempt.state.encode()):
            raise PeerRejected(_NOT_BEGUN_HERE)
        if not code:
            raise PeerRejected("the identity provider did not let you in")
        with self._place():
            return self._provider.identify(attempt, code)

    def let_in(self, request: Request, identity: Identity) -> Response:
        """Raises Permanent for who may not come in."""
        now, idle = self._page.receiver.clock(), timedelta(seconds=self._page.settings.page_idle_s)
        try:
            with self._page.receiver.sessions.begin() as session:
                user = admit(session, identity.subject, identity.name, identity.access, now)
                token = log_in(session, user, now, idle)
        except IntegrityError as error:
            raise Permanent("somebody of your name came in at the same moment: try again") from error
        self._page.trail.authenticated(self._page.door.person(request, user.name, identity.subject), LOGIN)
        response = self._page.templates.render("entered.html", {"user": user.name, "visitor": None})
        # Not a redirect: browsers take that for the provider's, and keep the cookie that is for our own pages alone.
        response.headers["Refresh"] = "0; url=/"
        self._page.door.give(request, response, token)
        return response

    def refuse(self, request: Request, error: NodeError, name: str = _NOBODY, subject: str = "") -> Response:
        """The login page, with the reason."""
        is_away = isinstance(error, PeerUnreachable)
        if is_away:
            _log.error("identity_provider_away", reason=str(error))
        self._page.trail.authenticated(self._page.door.person(request, name, subject), LOGIN, str(error))
        return blank(self._page, request, "login.html", 503 if is_away else 403, f"Not logged in: {error}.")

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise PeerUnreachable("too many wait for the identity provider: try again in a moment")
        try:
            yield
        finally:
            self._places.release()
