"""A browser without a screen: it keeps cookies, follows redirects and fills in forms."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from stow_peer import serving
from waiting import LONG_S, wait_until

from dicom_node.access.passwords import hash_password
from dicom_node.config import Settings
from dicom_node.models import Access, User
from dicom_node.receive.intake import Receiver

PASSWORD = "correct horse battery"
_HIDDEN = re.compile(r'name="(csrf|seen)" value="(\w+)"')
_FORM_TYPE = "application/x-www-form-urlencoded"


class Shown:
    """What the browser was answered."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status, self.headers, self.content = status, headers, content

    @property
    def text(self) -> str:
        return self.content.decode()

    @property
    def csrf(self) -> str:
        return self._hidden.get("csrf", "")

    @property
    def seen(self) -> str:
        """What the form says that it showed."""
        return self._hidden.get("seen", "")

    @property
    def _hidden(self) -> dict[str, str]:
        return dict(_HIDDEN.findall(self.text))


class Browser:
    """Of one person. A header's name has underscores where it has hyphens. added: by a proxy, to every request."""

    def __init__(self, port: int, **added: str) -> None:
        self.port = port
        self.added = added
        self.cookies: dict[str, str] = {}

    def get(self, path: str, *, follow: bool = True, **headers: str) -> Shown:
        return self._ask("GET", path, "", follow, headers)

    def post(self, path: str, *, follow: bool = True, kind: str = _FORM_TYPE, **fields: str) -> Shown:
        return self._ask("POST", path, urlencode(fields), follow, {"Content-Type": kind})

    def log_in(self, name: str, password: str = PASSWORD) -> Shown:
        return self.post("/login", csrf=self.get("/login").csrf, name=name, password=password)

    def _ask(self, method: str, path: str, body: str, follow: bool, headers: dict[str, str]) -> Shown:
        named = {name.replace("_", "-"): value for name, value in (self.added | headers).items()}
        named |= {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=6 * LONG_S)) as connection:
            connection.request(method, path, body, named)
            got = connection.getresponse()
            names = {name.lower() for name in got.headers}
            said = {name: ", ".join(got.headers.get_all(name) or []) for name in names}
            shown = Shown(got.status, said, got.read())
            self._keep(got.headers.get_all("Set-Cookie") or [])
        if follow and shown.status == 303:
            return self.get(shown.headers["location"].partition("#")[0])
        return shown

    def _keep(self, headers: list[str]) -> None:
        for header in headers:
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]


@cache
def _hash() -> str:
    return hash_password(PASSWORD)  # takes a while, and that is what it is for


@contextmanager
def page_of(settings: Settings, receiver: Receiver) -> Iterator[int]:
    """The port of a node whose page a viewer, an operator and an admin may use, named so."""
    with receiver.sessions.begin() as session:
        for access in Access:
            session.add(User(name=access, access=access, password_hash=_hash(), created_at=receiver.clock()))
    with serving(settings, receiver) as port:
        yield port


def logged_in(port: int, name: str = "viewer") -> Browser:
    browser = Browser(port)
    assert browser.log_in(name).status == 200
    return browser


def audited_when(settings: Settings, words: str) -> str:
    """The audit trail, as soon as it says so."""

    def trail() -> str:
        return "".join(path.read_text() for path in sorted(settings.audit_dir.glob("*")))

    wait_until(lambda: words in trail(), f"the audit trail says {words}")
    return trail()
