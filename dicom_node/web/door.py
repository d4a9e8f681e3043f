"""Who is at the door of the page, by the cookie; and how people come in and go out."""

import secrets
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from dicom_node.access.logins import LONGEST, find_login, find_person, is_note_due, log_in, log_out, note_active
from dicom_node.access.passwords import is_password
from dicom_node.access.users import checked_name
from dicom_node.addresses import household_of
from dicom_node.audit import AuditTrail
from dicom_node.audit_messages import LOGIN, LOGOUT, Person
from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import Permanent
from dicom_node.models import Access
from dicom_node.receive.rate_limit import RateLimit
from dicom_node.web.caller import caller_of
from dicom_node.web.forms import csrf_of
from dicom_node.web.privacy import is_encrypted, require_privacy
from dicom_node.web.refused import LoginWanted, PageRefused

_COOKIE, _BEFORE, _ATTEMPT = "dicom-node", "dicom-node-before-login", "dicom-node-attempt"
_MOST_HASHED = 2  # passwords at once: each takes 64 MiB for a moment
_WRONG = "The name or the password is wrong, or the user is disabled."
_TOO_MANY = "Too many tries: wait half a minute."


@dataclass(frozen=True)
class Visitor:
    """Somebody who is logged in."""

    person: Person
    access: str  # Access
    csrf: str  # for the forms of the answer

    @property
    def may_act(self) -> bool:
        return self.access in (Access.OPERATOR, Access.ADMIN)


class Door:
    """Lets people in, or raises LoginWanted or PageRefused, and tells the audit trail."""

    def __init__(self, settings: Settings, sessions: Sessions, clock: Clock, trail: AuditTrail) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        self._trail = trail
        self._idle = timedelta(seconds=settings.page_idle_s)
        self._tries_of_name = RateLimit(1 / 30, burst=10)  # from one address
        self._tries_of_address = RateLimit(1.0, burst=50)
        self._hashing = threading.Semaphore(_MOST_HASHED)

    def visitor(self, request: Request) -> Visitor:
        """Who asks. A page that renews itself does not keep the login alive."""
        require_privacy(self._settings, request)
        token = self.cookie(request)
        if not token:
            raise LoginWanted
        now = self._clock()
        with self._sessions() as session:
            found = find_login(session, token, now, self._idle)
        if found is None:
            raise LoginWanted
        login, user = found
        if "hx-request" not in request.headers and is_note_due(login, now):
            with self._sessions.begin() as session:
                note_active(session, login, now)
        return Visitor(self.person(request, user.name, user.subject), user.access, csrf_of(token))

    def operator(self, request: Request) -> Visitor:
        visitor = self.visitor(request)
        if not visitor.may_act:
            raise PageRefused(403, "This needs the role operator; yours is viewer.")
        return visitor

    def admin(self, request: Request) -> Visitor:
        visitor = self.visitor(request)
        if visitor.access != Access.ADMIN:
            raise PageRefused(403, f"This needs the role admin; yours is {visitor.access}.")
        return visitor

    def come_in(self, request: Request, name: str, password: str) -> str:
        """What the cookie is to hold. Raises PageRefused for a wrong password, and after too many."""
        person = self.person(request, name.strip()[:64])
        self.require_calm(request)
        if not self._tries_of_name.allows(f"{household_of(person.address)} {_one_name(name)}"):
            raise PageRefused(429, _TOO_MANY)
        with self._sessions() as session:
            user = find_person(session, name)
        with self._hashing:
            is_right = is_password(password, user.password_hash if user else None)
        if user is None or not is_right:
            raise self._wrong(person)
        try:
            with self._sessions.begin() as session:
                token = log_in(session, user, self._clock(), self._idle)
        except Permanent as error:
            raise self._wrong(person) from error
        self._trail.authenticated(person, LOGIN)
        return token

    def _wrong(self, person: Person) -> PageRefused:
        self._trail.authenticated(person, LOGIN, _WRONG)
        return PageRefused(403, _WRONG)

    def require_calm(self, request: Request) -> None:
        """Raise PageRefused for an address that tries without end."""
        if not self._tries_of_address.allows(household_of(caller_of(self._settings, request))):
            raise PageRefused(429, _TOO_MANY)

    def person(self, request: Request, name: str, subject: str | None = None) -> Person:
        """For the audit trail: the name, where the request comes from, and how the identity provider knows them."""
        return Person(name, caller_of(self._settings, request), subject or "")

    def go_out(self, request: Request, visitor: Visitor) -> None:
        with self._sessions.begin() as session:
            log_out(session, self.cookie(request))
        self._trail.authenticated(visitor.person, LOGOUT)

    def cookie(self, request: Request) -> str:
        return request.cookies.get(self._named(_COOKIE, request), "")

    def cookie_before_login(self, request: Request) -> str:
        """So that the form of the login, too, must be ours."""
        return request.cookies.get(self._named(_BEFORE, request), "")

    def attempt(self, request: Request) -> str:
        """The secret of the login at the identity provider that this browser has begun."""
        return request.cookies.get(self._named(_ATTEMPT, request), "")

    def give_attempt(self, request: Request, response: Response, secret: str) -> None:
        """Lax: the provider's page is what sends the browser back."""
        self._set(request, response, _ATTEMPT, secret, same_site="lax")

    def give(self, request: Request, response: Response, token: str) -> None:
        self._set(request, response, _COOKIE, token)
        self._delete(request, response, _BEFORE)
        self._delete(request, response, _ATTEMPT)

    def give_before_login(self, request: Request, response: Response, token: str) -> None:
        self._set(request, response, _BEFORE, token)

    def take(self, request: Request, response: Response) -> None:
        self._delete(request, response, _COOKIE)

    def _set(
        self,
        request: Request,
        response: Response,
        name: str,
        token: str,
        same_site: Literal["lax", "strict"] = "strict",
    ) -> None:
        response.set_cookie(
            self._named(name, request),
            token,
            max_age=int(LONGEST.total_seconds()),
            httponly=True,
            samesite=same_site,
            secure=is_encrypted(self._settings, request),
        )

    def _delete(self, request: Request, response: Response, name: str) -> None:
        response.delete_cookie(self._named(name, request), secure=is_encrypted(self._settings, request))

    def _named(self, name: str, request: Request) -> str:
        """Over TLS browsers hold what `__Host-` promises: no other host set it (RFC 6265bis 4.1.3.2)."""
        return f"__Host-{name}" if is_encrypted(self._settings, request) else name


def _one_name(name: str) -> str:
    """However it is written. All that is no name counts as one: it cannot be a user's."""
    try:
        return checked_name(name)
    except Permanent:
        return ""


def new_token() -> str:
    return secrets.token_urlsafe(32)
