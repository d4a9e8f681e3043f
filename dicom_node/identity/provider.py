"""The identity provider: where people are sent to log in, and what it says of them when they come back."""

import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from dicom_node.errors import PeerRejected, PeerUnreachable
from dicom_node.identity.attempt import Attempt
from dicom_node.identity.exchange import Json, ask
from dicom_node.identity.id_token import Identity, read_id_token
from dicom_node.peers import Oidc
from dicom_node.tls import words_of

CALLBACK = "/login/callback"


@dataclass(frozen=True)
class Provider:
    """By its discovery document, its keys and its answers as they are at the moment: nothing of them is kept."""

    oidc: Oidc
    page_url: str

    @property
    def redirect_uri(self) -> str:
        return self.page_url.rstrip("/") + CALLBACK

    def login_url(self, attempt: Attempt) -> str:
        """Where the browser is sent (OpenID Connect Core 3.1.2.1). Raises PeerUnreachable."""
        asked = {
            "response_type": "code",
            "client_id": self.oidc.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(self.oidc.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.code_challenge,
            "code_challenge_method": "S256",
        }
        endpoint = _endpoint(self.discover(), "authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def identify(self, attempt: Attempt, code: str) -> Identity:
        """Who has logged in. Raises PeerUnreachable, PeerRejected, and Permanent for who may not come in."""
        found = self.discover()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": attempt.code_verifier,
        }
        answer = ask(_endpoint(found, "token_endpoint"), self._context(), form, self._authorization())
        keys = ask(_endpoint(found, "jwks_uri"), self._context()).get("keys")
        token = answer.get("id_token")
        if not isinstance(token, str) or not isinstance(keys, list):
            raise PeerRejected("the identity provider answers without an ID token, or has no keys")
        return read_id_token(token, keys, self.oidc, attempt.nonce)

    def discover(self) -> Json:
        """Its metadata (OpenID Connect Discovery 4). Raises PeerUnreachable."""
        found = ask(f"{self.oidc.issuer.rstrip('/')}/.well-known/openid-configuration", self._context())
        if found.get("issuer") != self.oidc.issuer:
            raise PeerUnreachable("the identity provider calls itself otherwise than the setting oidc.issuer")
        return found

    def _authorization(self) -> Mapping[str, str]:
        """client_secret_basic, which every provider takes (OpenID Connect Core 9, RFC 6749 2.3.1)."""
        try:
            secret = self.oidc.client_secret_file.read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            words = f"oidc.client_secret_file cannot be read: {error.strerror}"
            raise PeerUnreachable(words) from error
        except UnicodeDecodeError as error:
            raise PeerUnreachable("oidc.client_secret_file is not UTF-8") from error
        pair = f"{quote(self.oidc.client_id, safe='')}:{quote(secret, safe='')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.oidc.ca)
        except OSError as error:
            raise PeerUnreachable(f"oidc.ca cannot be used: {words_of(error)}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _endpoint(found: Json, name: str) -> str:
    """An address of the provider's metadata; by plain HTTP only where the issuer is on this machine, too."""
    url = found.get(name)
    issuer = urlsplit(str(found["issuer"]))
    if not isinstance(url, str) or urlsplit(url).scheme not in ("https", issuer.scheme):
        raise PeerUnreachable(f"the identity provider names no usable {name}")
    return url
