"""What is really on the disk of the objects that somebody wants committed, by reading them (PS3.4 J.3.3)."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from sqlalchemy import ColumnElement, update
from sqlmodel import col, select

from dicom_node import logs
from dicom_node.database import Sessions
from dicom_node.errors import InvalidHeader, Transient
from dicom_node.models import Instance, Series, Study
from dicom_node.receive.commitment import Reference
from dicom_node.receive.intake import Receiver
from dicom_node.storage import InstanceStore, StoredFile

# Failure Reason (0008,1197): PS3.3 C.14.1.1
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
# Of each its name, and when it is given.
FAILURE_REASONS: Mapping[int, tuple[str, str]] = {
    PROCESSING_FAILURE: (
        "Processing failure",
        "the file cannot be read, or its data set has not the SHA-256 that it had when it was first read",
    ),
    NO_SUCH_OBJECT_INSTANCE: ("No such object instance", "never received, or the file is gone"),
    CLASS_INSTANCE_CONFLICT: ("Class-instance conflict", "received with another SOP class"),
}
_COMMITTED = 0

# Event Type ID: PS3.4 table J.3-2
REQUEST_SUCCESSFUL = 1
FAILURES_EXIST = 2

_BATCH = 500  # objects that are looked up together

_log = logs.get("commitment")


@dataclass(frozen=True)
class Failure:
    """An object that is not committed, and why."""

    reference: Reference
    reason: int


@dataclass(frozen=True)
class CommitmentResult:
    """Every object that was asked for, in one of two places."""

    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...]

    @property
    def event_type(self) -> int:
        return FAILURES_EXIST if self.failed else REQUEST_SUCCESSFUL

    @property
    def words(self) -> str:
        if not self.failed:
            return f"all {len(self.committed)} committed"
        reasons = Counter(failure.reason for failure in self.failed)
        why = ", ".join(f"{count} × {reason:04X}" for reason, count in sorted(reasons.items()))
        return f"{len(self.committed)} of {len(self.committed) + len(self.failed)} committed; not: {why}"

    def event_information(self, transaction_uid: str) -> Dataset:
        """The data set of the N-EVENT-REPORT (PS3.4 table J.3-2)."""
        ds = Dataset()
        ds.add(_uid("TransactionUID", transaction_uid))
        if self.committed:
            ds.ReferencedSOPSequence = [_item(reference) for reference in self.committed]
        if self.failed:
            ds.FailedSOPSequence = [_failed_item(failure) for failure in self.failed]
        return ds


def failures_to_json(failures: Iterable[Failure]) -> str:
    rows = [[each.reference.sop_class_uid, each.reference.sop_instance_uid, each.reason] for each in failures]
    return json.dumps(rows, separators=(",", ":"))


def examine(receiver: Receiver, references: Sequence[Reference], stop: threading.Event) -> CommitmentResult:
    """Read every object that was asked for.

    Raises StorageAway while the instance folder cannot be read, Transient when told to stop.
    """
    committed: list[Reference] = []
    failed: list[Failure] = []
    for reference, reason in _examined(receiver, references):
        if reason == _COMMITTED:
            committed.append(reference)
        else:
            failed.append(Failure(reference, reason))
        if stop.is_set():
            raise Transient("the node was stopped while it looked at the objects")
    return CommitmentResult(tuple(committed), tuple(failed))


def _examined(receiver: Receiver, references: Sequence[Reference]) -> Iterator[tuple[Reference, int]]:
    """Each object and its failure reason, 0 for none. No transaction is open while files are read."""
    for begin in range(0, len(references), _BATCH):
        batch = references[begin : begin + _BATCH]
        held = _held(receiver.sessions, batch)
        digests: dict[int, str] = {}
        for reference in batch:
            yield reference, _failure_reason(receiver.store, reference, held[reference.sop_instance_uid], digests)
        _remember(receiver.sessions, digests)


def _held(sessions: Sessions, batch: Sequence[Reference]) -> Mapping[str, list[Instance]]:
    """The rows of these objects by SOP Instance UID, when no removal that knew nothing of the request is under way."""
    wanted = col(Instance.sop_instance_uid).in_({each.sop_instance_uid for each in batch})
    _wait_for_removals(sessions, wanted)
    held: dict[str, list[Instance]] = defaultdict(list)
    with sessions() as session:
        for instance in session.exec(select(Instance).where(wanted)):
            held[instance.sop_instance_uid].append(instance)
    return held


def _wait_for_removals(sessions: Sessions, wanted: ColumnElement[bool]) -> None:
    """A removal that locks a study from now on finds the request. One lock at a time: others lock several studies."""
    with sessions() as session:
        studies = session.exec(select(Series.study_id).join(Instance).where(wanted).distinct()).all()
    for study_id in studies:
        with sessions() as session:
            session.exec(select(Study.id).where(Study.id == study_id).with_for_update(read=True)).one()


def _failure_reason(
    store: InstanceStore, reference: Reference, held: Sequence[Instance], digests: dict[int, str]
) -> int:
    if not held:
        return NO_SUCH_OBJECT_INSTANCE
    of_class = [each for each in held if each.sop_class_uid == reference.sop_class_uid]
    if not of_class:
        return CLASS_INSTANCE_CONFLICT
    # Who asks means one of the variants of a UID and does not say which: all must be there.
    return max(_read(store, instance, digests) for instance in of_class)


def _read(store: InstanceStore, instance: Instance, digests: dict[int, str]) -> int:
    """The failure reason of one file, 0 for none; a digest that its row lacks is added to `digests`."""
    if instance.removed_at is not None:
        return NO_SUCH_OBJECT_INSTANCE
    try:
        store.open(instance.path)
        digest = store.sha256(StoredFile(instance.path, instance.size_bytes))
    except InvalidHeader:
        return _wanting(instance, NO_SUCH_OBJECT_INSTANCE)
    except OSError:  # unreadable, or shorter than what was received
        return _wanting(instance, PROCESSING_FAILURE)
    if not instance.sha256:
        digests[instance.id or 0] = digest
    elif digest != instance.sha256:
        return _wanting(instance, PROCESSING_FAILURE)
    return _COMMITTED


def _wanting(instance: Instance, reason: int) -> int:
    _log.error("instance_damaged", instance=instance.id, code=f"{reason:04X}")
    return reason


def _remember(sessions: Sessions, digests: Mapping[int, str]) -> None:
    """What was read once is what later readings are compared with."""
    with sessions.begin() as session:
        for instance_id, digest in digests.items():
            row = (col(Instance.id) == instance_id, col(Instance.sha256) == "")
            session.execute(update(Instance).where(*row).values(sha256=digest))


def _failed_item(failure: Failure) -> Dataset:
    item = _item(failure.reference)
    item.FailureReason = failure.reason
    return item


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.add(_uid("ReferencedSOPClassUID", reference.sop_class_uid))
    item.add(_uid("ReferencedSOPInstanceUID", reference.sop_instance_uid))
    return item


def _uid(keyword: str, uid: str) -> DataElement:
    """As it came, valid or not: pydicom would log a line for each that is not."""
    return DataElement(Tag(keyword), "UI", uid, validation_mode=IGNORE)
