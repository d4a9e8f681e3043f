"""Identity providers: one that nobody here wrote, and one that says whatever a test wants."""

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, build_opener, urlopen

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from foreign import absent, require_peer, running
from waiting import LONG_S, free_port, wait_until

from dicom_node.identity.provider import CALLBACK
from dicom_node.peers import Oidc, Tls
from dicom_node.tls import http_context

CLIENT, SECRET = "page", "s3cret of the page!"
ROLES = {"radiology-readers": "viewer", "radiology-operators": "operator", "radiology-admins": "admin"}
_FOLDER = Path(__file__).parent / "provider"
_ACTION = re.compile(r'action="([^"]+)"')


def oidc_of(issuer: str, folder: Path, **changes: Any) -> Oidc:
    """The settings of a node that this provider knows."""
    secret = folder / "oidc-secret"
    secret.write_text(f"{SECRET}\n")
    return Oidc(**{"issuer": issuer, "client_id": CLIENT, "client_secret_file": secret, "roles": ROLES, **changes})


@contextmanager
def real_provider(redirect_uri: str) -> Iterator[str]:
    """The issuer of the certified oidc-provider, which wants PKCE and takes a code once. Its people: provider.mjs."""
    node, port = require_peer("node"), free_port()
    if not (_FOLDER / "node_modules").is_dir():
        absent("oidc-provider")
    issuer = f"http://127.0.0.1:{port}"
    with running([node, "provider.mjs", str(port), redirect_uri], cwd=_FOLDER):
        wait_until(lambda: _answers(f"{issuer}/.well-known/openid-configuration"), "the provider answers", 60)
        yield issuer


def log_in_there(login_url: str, name: str) -> str:
    """What a person does at the real provider. Returns the path that the browser is sent back to."""
    back: list[str] = []
    browser = build_opener(HTTPCookieProcessor(CookieJar()), _until(CALLBACK, back))
    page, url = _show(browser, login_url)
    for fields in ({"prompt": "login", "login": name, "password": "any"}, {"prompt": "consent"}):
        found = _ACTION.search(page)
        assert found, page
        page, url = _show(browser, urljoin(url, found.group(1)), fields)
    (callback,) = back
    return f"{urlsplit(callback).path}?{urlsplit(callback).query}"


def _show(browser: OpenerDirector, url: str, fields: Mapping[str, str] | None = None) -> tuple[str, str]:
    """The page and its address; nothing where the browser is sent back to the node."""
    try:
        with browser.open(url, urlencode(fields).encode() if fields else None, timeout=LONG_S) as shown:
            return shown.read().decode(), shown.geturl()
    except HTTPError as sent_back:
        sent_back.close()
        return "", url


def _until(path: str, back: list[str]) -> HTTPRedirectHandler:
    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> Any:
            if urlsplit(arguments[-1]).path == path:
                back.append(arguments[-1])
                return None
            return super().redirect_request(*arguments)

    return Redirects()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1):
            return True
    except OSError:
        return False


@cache
def key_of(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(name: str) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(key_of(name).public_key(), as_dict=True), "kid": name, "use": "sig"}


def signed(claims: Mapping[str, Any], key: str = "good", algorithm: str = "RS256") -> str:
    return jwt.encode(dict(claims), key_of(key), algorithm, headers={"kid": key})


@dataclass
class Forger:
    """A provider whose answers a test makes. What it is sent stands in `asked`."""

    issuer: str = ""
    changes: dict[str, Any] = field(default_factory=dict)  # of the claims; None: the claim is left out
    sign: Callable[[Mapping[str, Any]], str] = signed
    metadata: dict[str, Any] = field(default_factory=dict)  # changed in the discovery document
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # by path, instead of its own
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    nonce: str = ""

    def send_back(self, login_url: str) -> str:
        """What the browser is sent back with, as by somebody who logged in."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(login_url).query).items()}
        self.nonce = asked["nonce"]
        return f"{CALLBACK}?{urlencode({'code': 'a-code', 'state': asked['state']})}"

    def claims(self) -> dict[str, Any]:
        now = int(time.time())
        good = {"iss": self.issuer, "sub": "1234", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self.nonce}
        said = {**good, "preferred_username": "anna", "roles": ["radiology-readers"], **self.changes}
        return {name: value for name, value in said.items() if value is not None}

    def answer(self, path: str) -> tuple[int, bytes]:
        if path in self.answers:
            return self.answers[path]
        own = {
            "/.well-known/openid-configuration": {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                **self.metadata,
            },
            "/keys": {"keys": [public_jwk("good"), public_jwk("other")]},
        }
        if path == "/token":
            return 200, json.dumps({"id_token": self.sign(self.claims()), "token_type": "Bearer"}).encode()
        return 200, json.dumps(own[path]).encode()


@contextmanager
def forging(tls: Tls | None = None) -> Iterator[Forger]:
    forger = Forger()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            forger.asked.append((self.path, {**parse_qs(body), "authorization": [self.headers["Authorization"]]}))
            status, content = forger.answer(self.path)
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", content.decode())
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815  the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            context: ssl.SSLContext = http_context(tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        forger.issuer = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield forger
        finally:
            server.shutdown()
            thread.join(LONG_S)
