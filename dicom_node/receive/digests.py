"""SHA-256 of what was received, made while nothing is received: a digest costs as much as receiving does.

It proves later that a file is what came: before commitment is given, and before a file is deleted.
"""

import threading
from collections.abc import Callable

from sqlalchemy import update
from sqlmodel import Session, col, select

from dicom_node import logs
from dicom_node.models import Instance
from dicom_node.receive.intake import Receiver
from dicom_node.storage import StoredFile

_log = logs.get("digests")


class Digests:
    """Fills the digests in. A file that cannot be read is passed over until the next start."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._after = 0

    def fill(self, stop: threading.Event, beat: Callable[[], object] = lambda: None) -> None:
        """Give every row without a digest one, oldest first, until an object comes in. beat: called before each."""
        while self._receiver.store.is_idle() and not stop.is_set():
            beat()
            with self._receiver.sessions() as session:
                instance = _next(session, self._after)
            if instance is None or instance.id is None:
                return
            try:
                digest = self._receiver.store.sha256(StoredFile(instance.path, instance.size_bytes))
            except OSError as error:
                _log.error("file_unreadable", instance=instance.id, error=type(error).__name__)
                self._after = instance.id
                continue
            with self._receiver.sessions.begin() as session:
                session.execute(update(Instance).where(col(Instance.id) == instance.id).values(sha256=digest))


def _next(session: Session, after: int) -> Instance | None:
    without = select(Instance).where(Instance.sha256 == "", col(Instance.id) > after)
    return session.exec(without.order_by(col(Instance.id)).limit(1)).first()
