"""Who acts on a study acts on what was shown of it: a word in the form stands for that."""

from collections.abc import Iterable
from hashlib import sha256

from dicom_node.errors import Permanent

_DIGITS = 16


def word_for(parts: Iterable[tuple[object, ...]]) -> str:
    """Another one for other parts."""
    return sha256(repr(list(parts)).encode()).hexdigest()[:_DIGITS]


def require_seen(study_id: int, seen: str | None, found: str) -> None:
    """Raise Permanent if what was seen is not what is found now. seen: None for a command, which shows nothing."""
    if seen not in (None, found):
        raise Permanent(f"study {study_id}: the study has changed, look again")
