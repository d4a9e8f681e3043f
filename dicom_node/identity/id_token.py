"""The ID token (OpenID Connect Core 2): who somebody is, signed by the provider for this node and this one try."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jwt

from dicom_node.errors import PeerRejected, Permanent
from dicom_node.models import Access
from dicom_node.peers import Oidc

# RFC 7518 3.1, RFC 8037: signatures that only the provider can make. No "none", and no HS256, whose key we would share.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_REQUIRED = ("iss", "sub", "aud", "exp", "iat")
_CLOCKS_DIFFER_S = 60
_LONGEST_SUBJECT = 255  # characters, OpenID Connect Core 2

Claims = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """Somebody whom the provider knows."""

    subject: str  # issuer and subject identifier
    name: str
    access: Access


def read_id_token(token: str, keys: Sequence[object], oidc: Oidc, nonce: str) -> Identity:
    """Check it as OpenID Connect Core 3.1.3.7 says.

    keys: the provider's JSON Web Keys. Raises PeerRejected if anything about the token is not as it must be, Permanent
    for somebody who is known and may not come in.
    """
    claims = _verified(token, keys, oidc)
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise PeerRejected("the ID token is of another login (nonce)")
    if claims.get("azp", oidc.client_id) != oidc.client_id:
        raise PeerRejected("the ID token is for another application (azp)")
    subject = claims["sub"]
    if not subject or len(subject) > _LONGEST_SUBJECT:
        raise PeerRejected("the ID token names nobody (sub)")
    return Identity(f"{oidc.issuer} {subject}", _name(claims, oidc), _access(claims, oidc))


def _verified(token: str, keys: Sequence[object], oidc: Oidc) -> Claims:
    try:
        header = jwt.get_unverified_header(token)
        key = jwt.PyJWK(_key_of(header, keys), algorithm=_algorithm_of(header))
        claims = jwt.decode(
            token,
            key,
            [key.algorithm_name],
            audience=oidc.client_id,
            issuer=oidc.issuer,
            leeway=_CLOCKS_DIFFER_S,
            options={"require": list(_REQUIRED)},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
        words = f"its times and this node's clock are more than {_CLOCKS_DIFFER_S} s apart"
        raise PeerRejected(f"the ID token is not good now: {words}; see that both clocks are set") from error
    except (jwt.PyJWTError, ValueError) as error:
        raise PeerRejected(f"the ID token is not good: {type(error).__name__}") from error
    return cast(Claims, claims)


def _algorithm_of(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if algorithm not in _ALGORITHMS:
        raise PeerRejected("the ID token is not signed as it must be (alg)")
    return str(algorithm)


def _key_of(header: Mapping[str, Any], keys: Sequence[object]) -> dict[str, Any]:
    """The key that the token names; where it names none, the only one there is."""
    usable = [key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig"]
    found = [key for key in usable if key.get("kid") == header["kid"]] if "kid" in header else usable
    if len(found) != 1:
        raise PeerRejected("the ID token is signed by a key that the identity provider does not name")
    return found[0]


def _name(claims: Claims, oidc: Oidc) -> str:
    name = claims.get(oidc.name_claim)
    if not isinstance(name, str):
        raise Permanent(f"the identity provider tells no name for you (claim {oidc.name_claim})")
    return name


def _access(claims: Claims, oidc: Oidc) -> Access:
    """The most that any of the person's roles allows."""
    said = claims.get(oidc.role_claim, ())
    held = {said} if isinstance(said, str) else set(map(str, said)) if isinstance(said, list) else set()
    found = [Access(access) for role, access in oidc.roles.items() if role in held]
    if not found:
        raise Permanent("the identity provider knows you, but none of your roles there lets you in here")
    return max(found, key=list(Access).index)
