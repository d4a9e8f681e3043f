"""The audit trail (PS3.15 A.5): who was let in or turned away, which patient's studies came, and who looked at them.

The one place beside database and images where a Patient ID may stand: the standard demands it. Files of one day each
(UTC), one message a line, only ever appended to, readable by the owner and the group.
"""

import fcntl
import os
import pwd
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from errno import ENOSPC
from pathlib import Path
from typing import Concatenate, ParamSpec

from dicom_node import logs
from dicom_node.audit_messages import (
    APPLICATION_START,
    APPLICATION_STOP,
    Code,
    Person,
    Process,
    Sender,
    Transfer,
    application_activity,
    instances_accessed,
    instances_imported,
    instances_transferred,
    peer_tested,
    query,
    security_alert,
    study_deleted,
    study_exported,
    user_authentication,
    user_changed,
)
from dicom_node.clock import Clock
from dicom_node.config import Settings

_MOST_WAITING = 1_000  # messages, 1 kB each
_TELL_LOSS_EVERY_S = 60.0
_THIS_MACHINE = "127.0.0.1"
_LAST_WORDS_S = 5.0  # longest wait for a disk that hangs when the process ends

_P = ParamSpec("_P")  # of a message, what it tells beside who tells it and when

_log = logs.get("audit")


@contextmanager
def audited(settings: Settings, clock: Clock) -> Iterator["AuditTrail"]:
    """The trail of a process while the block runs: its start, its end, and all that happened between is written."""
    trail = AuditTrail(settings.audit_dir, settings.ae_title, clock)
    trail.started()
    try:
        yield trail
    finally:
        trail.stopped()


def who_runs_this() -> Person:
    """The person at this machine, by name where it knows one."""
    name = str(os.getuid())
    with suppress(KeyError):
        name = pwd.getpwuid(os.getuid()).pw_name
    return Person(name, _THIS_MACHINE)


class AuditTrail:
    """Takes messages from any thread and never makes it wait: a thread of its own writes them.

    What cannot be written, because the disk fails or is too slow, is lost; the log says how many.
    """

    def __init__(self, folder: Path, ae_title: str, clock: Clock) -> None:
        self._folder = folder
        self._process = Process(ae_title, os.getpid())
        self._clock = clock
        self._waiting: queue.Queue[tuple[date, str] | None] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()
        self._lost, self._tell_loss_at = 0, 0.0
        self._writer = threading.Thread(target=self._write_all, name="audit", daemon=True)
        self._writer.start()

    def started(self) -> None:
        self._tell(application_activity, APPLICATION_START)

    def refused(self, address: str, calling_ae: str, why: str) -> None:
        """Somebody was turned away. calling_ae: empty if it was not said yet."""
        self._tell(security_alert, Sender(address, calling_ae), why)

    def transferred(self, sender: Sender, transfer: Transfer) -> None:
        """All that came of a study on one association is kept."""
        self._tell(instances_transferred, sender, transfer)

    def fetched(self, sender: Sender, transfer: Transfer) -> None:
        """The same, on an association of this process."""
        self._tell(instances_transferred, sender, transfer, is_fetched=True)

    def imported(self, person: Person, transfer: Transfer) -> None:
        """A person had files read, and all that they hold of a study is kept."""
        self._tell(instances_imported, person, transfer)

    def authenticated(self, person: Person, kind: Code, failure: str = "") -> None:
        """A person logged in or out; with a failure, could not."""
        self._tell(user_authentication, person, kind, failure)

    def accessed(self, person: Person, study_instance_uid: str, patient_id: str, *, is_change: bool) -> None:
        """A person looked at a study, or did something to it."""
        self._tell(instances_accessed, person, study_instance_uid, patient_id, is_change=is_change)

    def deleted(self, study_instance_uid: str, patient_id: str) -> None:
        """The images of a study were removed, because their time was up or for room."""
        self._tell(study_deleted, study_instance_uid, patient_id)

    def exported(self, person: Person, study_instance_uid: str, patient_id: str) -> None:
        """A person had a study written into a folder."""
        self._tell(study_exported, person, study_instance_uid, patient_id)

    def searched(self, person: Person, words: str) -> None:
        """A person had studies listed. words: what was looked for; empty: nothing in particular."""
        self._tell(query, person, words)

    def changed_user(self, person: Person, user: str) -> None:
        """A person changed who may come in, or a password."""
        self._tell(user_changed, person, user)

    def tested(self, person: Person, peer: str, failure: str) -> None:
        """A person had a peer asked whether it answers. failure: empty if it did."""
        self._tell(peer_tested, person, peer, failure)

    def stopped(self) -> None:
        """The process ends. Returns when all messages are written, or the disk hangs; takes no more after that."""
        self._tell(application_activity, APPLICATION_STOP)
        try:
            self._waiting.put(None, timeout=_LAST_WORDS_S)
        except queue.Full:
            return
        self._writer.join(_LAST_WORDS_S)

    def _tell(
        self, encode: Callable[Concatenate[Process, datetime, _P], str], *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        now = self._clock()
        message = encode(self._process, now, *args, **kwargs)
        try:
            self._waiting.put_nowait((now.date(), message))
        except queue.Full:
            self._count_lost("too many at once")

    def _write_all(self) -> None:
        while (item := self._waiting.get()) is not None:
            day, message = item
            try:
                self._write(day, message)
            except OSError as error:
                self._count_lost(str(error.strerror))

    def _write(self, day: date, message: str) -> None:
        """Opened anew each time: whoever moves or removes the file gets what comes next in a new one."""
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self._folder / f"audit-{day:%Y-%m-%d}.log", flags, 0o640)
        try:
            with suppress(OSError):  # a disk that knows no locks
                # Other processes append, too, and on NFS other machines, which only a lock tells of the file's end.
                fcntl.flock(file, fcntl.LOCK_EX)
            line = f"{_end_of_line(file)}{message}\n".encode()
            is_whole = os.write(file, line) == len(line)
        finally:
            os.close(file)
        if not is_whole:
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def _count_lost(self, why: str) -> None:
        with self._lock:
            self._lost += 1
            lost, now = self._lost, time.monotonic()
            if now < self._tell_loss_at:
                return
            self._tell_loss_at = now + _TELL_LOSS_EVERY_S
        _log.error("audit_messages_lost", count=lost, reason=why)


def _end_of_line(file: int) -> str:
    """Empty unless the last message, of whatever process, was cut short."""
    size = os.fstat(file).st_size
    return "\n" if size and os.pread(file, 1, size - 1) != b"\n" else ""
