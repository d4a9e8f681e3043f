"""One try at coming in by the identity provider."""

import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Attempt:
    """What this try is known by. All of it is derived from a secret that only this node and one browser's cookie hold.

    So an answer that comes with another browser, or was made for another try, is known; and nothing is kept here.
    """

    secret: str

    @classmethod
    def begin(cls) -> "Attempt":
        return cls(secrets.token_urlsafe(32))

    @property
    def state(self) -> str:
        """Comes back with the browser (OpenID Connect Core 3.1.2.1)."""
        return self._derive("state")

    @property
    def nonce(self) -> str:
        """Comes back in the ID token."""
        return self._derive("nonce")

    @property
    def code_verifier(self) -> str:
        """Shown when the code is redeemed: who stole the code has it not (RFC 7636 4.1)."""
        return self._derive("code verifier")

    @property
    def code_challenge(self) -> str:
        """Of the method S256 (RFC 7636 4.2)."""
        return _base64url(sha256(self.code_verifier.encode()).digest())

    def _derive(self, use: str) -> str:
        return _base64url(hmac.digest(self.secret.encode(), use.encode(), "sha256"))


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
