"""The folder of a simulated peer: each object once, each receipt as a line of `received.jsonl`."""

import hashlib
import json
import os
import re
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}")
_JOURNAL = "received.jsonl"


@dataclass(frozen=True)
class Receipt:
    """Something came in, whatever was answered."""

    identifier: str  # SOP Instance UID or MSH-10
    sha256: str  # of the data set or the message, as it came over the wire
    received_at: str  # ISO 8601, UTC


class Inbox:
    """What a simulated peer got; safe to use from several threads. The folder is made if it is not there."""

    def __init__(self, folder: Path, suffix: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._suffix = suffix
        self._changed = threading.Condition()
        self._count = 0

    def note(self, identifier: str, received: bytes) -> None:
        """Append a receipt to the journal and wake those who wait."""
        digest = hashlib.sha256(received).hexdigest()
        line = json.dumps(asdict(Receipt(identifier, digest, datetime.now(UTC).isoformat())))
        with self._changed:
            with (self._folder / _JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(line + "\n")
            self._count += 1
            self._changed.notify_all()

    def keep(self, identifier: str, content: bytes) -> None:
        """Write the object to its file; a reader sees all of it or nothing."""
        with NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as temporary:
            temporary.write(content)
        os.replace(temporary.name, self.path(identifier))

    def path(self, identifier: str) -> Path:
        """The file of an object. An identifier that cannot be a file name stands there as its digest."""
        is_safe = _SAFE_NAME.fullmatch(identifier)
        name = identifier if is_safe else hashlib.sha256(identifier.encode()).hexdigest()
        return self._folder / f"{name}{self._suffix}"

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until so many receipts were noted by this process; false if the time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count >= count, timeout_s)


def read_receipts(folder: Path) -> list[Receipt]:
    """The receipts of a simulated peer, oldest first; also of one that runs in another process."""
    journal = folder / _JOURNAL
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True) if journal.exists() else []
    return [Receipt(**json.loads(line)) for line in lines if line.endswith("\n")]
