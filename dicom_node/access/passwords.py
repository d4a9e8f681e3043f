"""Passwords as Argon2id keeps them (RFC 9106); the library's parameters are those of its section 4, second choice."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dicom_node.errors import Permanent

SHORTEST = 12  # characters
_LONGEST = 256


def hash_password(password: str) -> str:
    """In the PHC string format. Raises Permanent for one that is too short or too long."""
    if not SHORTEST <= len(password) <= _LONGEST:
        raise Permanent(f"a password of {len(password)} characters, expected {SHORTEST} to {_LONGEST}")
    return PasswordHasher().hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Whether it is the one that was hashed. None or empty, for who has none, takes as long and is never so."""
    try:
        is_right = PasswordHasher().verify(password_hash or _nobodys(), password[:_LONGEST])
    except (VerificationError, InvalidHashError):
        return False
    return is_right and bool(password_hash)


@cache
def _nobodys() -> str:
    return PasswordHasher().hash("the password of nobody")
