"""Whether what was acknowledged is there: its row, and its file byte for byte."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from senders import Acknowledged

Found = dict[str, tuple[str, int]]  # SOP Instance UID → path and size of the row
SELECT = "SELECT sop_instance_uid, path, size_bytes FROM instance"


def found(rows: Iterable[tuple[str, str, int]]) -> Found:
    """Of the answer to SELECT."""
    return {uid: (path, size_bytes) for uid, path, size_bytes in rows}


def lost(instances: Path, rows: Found, acknowledged: Iterable[Acknowledged]) -> list[str]:
    """What has no row, or no file of its bytes."""
    return [each.sop_instance_uid for each in acknowledged if not _is_kept(instances, rows, each)]


def incomplete(instances: Path, rows: Found) -> list[str]:
    """Rows whose file is absent or short, acknowledged or not."""
    return [uid for uid, row in rows.items() if not _content(instances, row)]


def _is_kept(instances: Path, rows: Found, sent: Acknowledged) -> bool:
    row = rows.get(sent.sop_instance_uid)
    return row is not None and sha256(_content(instances, row)).hexdigest() == sent.sha256


def _content(instances: Path, row: tuple[str, int]) -> bytes:
    """The data set; empty if there is less of it."""
    path, size_bytes = row
    file = instances / path
    content = file.read_bytes() if file.exists() else b""
    return content[-size_bytes:] if len(content) > size_bytes else b""
