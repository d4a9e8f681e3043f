"""Identifiers that are the same on every retry, because they are derived and not drawn."""

import re
import uuid

from pydicom.uid import UID

_NAMESPACE = uuid.UUID("7d0f4c1a-5d3b-5c55-9f6e-2f7a3d1e9b10")

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID = 64  # PS3.5 9.1


def is_uid(text: str) -> bool:
    """Whether it can be kept and told to others as a UID: what is none may be anything, a name too.

    Source: PS3.5 9.1, but for leading zeros, which senders write.
    """
    return len(text) <= LONGEST_UID and _UID.fullmatch(text) is not None


def derive_uid(*parts: str) -> UID:
    """Derive a DICOM UID from the parts; equal parts give an equal UID.

    Parts are joined by a unit separator, so ("ab", "c") and ("a", "bc") differ.
    Source: PS3.5 B.2, a UUID as decimal under the root 2.25 (at most 44 characters).
    """
    return UID(f"2.25.{_derive_uuid(parts).int}")


def derive_control_id(*parts: str) -> str:
    """Derive an HL7 message control ID (MSH-10, ST of at most 20 characters in 2.5.1) from the parts."""
    return _derive_uuid(parts).hex[:20].upper()


def _derive_uuid(parts: tuple[str, ...]) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, "\x1f".join(parts))
