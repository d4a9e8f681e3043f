"""A node's port and peers of it, for the tests of what says that a study is complete."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from doubles import FrozenClock
from films import make_dx
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.association import Association
from rows import all_of
from sqlmodel import select
from waiting import LONG_S, wait_until

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Job, Transition
from dicom_node.peers import Completeness
from dicom_node.receive import scp
from dicom_node.receive.availability import INSTANCE_AVAILABILITY_NOTIFICATION
from dicom_node.receive.completeness import close_quiet_studies
from dicom_node.receive.intake import Receiver
from dicom_node.receive.listener import Listener
from dicom_node.receive.mpps import MODALITY_PERFORMED_PROCEDURE_STEP
from dicom_node.requestor import Requestor
from dicom_node.states import JobState
from dicom_node.storage import InstanceStore

DX = "1.2.840.10008.5.1.4.1.1.1.1"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
STUDY = str(make_dx().StudyInstanceUID)
ALL_RULES = Completeness(on_release=True, image_count=None, on_mpps=True, on_availability=True, settle_s=2)


class Node:
    """The port and the sweep around one database; the clock is the test's."""

    def __init__(self, settings: Settings, sessions: Sessions, rules: Completeness) -> None:
        self.settings = settings.model_copy(update={"completeness": rules})
        self.sessions = sessions
        self.clock = FrozenClock()
        self.receiver = Receiver(InstanceStore(settings.instances_dir), sessions, self.clock)
        self.server: Listener = scp.start_server(self.settings, self.receiver)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def stop(self) -> None:
        self.server.shutdown()
        wait_until(lambda: not self.server.active_associations, "all associations end")

    def restart(self) -> None:
        self.stop()
        self.server = scp.start_server(self.settings, self.receiver)

    def sweep(self, *, after_s: float = 0) -> list[str]:
        """Why the studies that are complete now were closed."""
        self.clock.forward(after_s)
        with self.sessions.begin() as session:
            jobs = close_quiet_studies(
                session,
                now=self.clock(),
                idle_timeout_s=self.settings.idle_timeout_s,
                rules=self.settings.completeness,
            )
        return self.reasons()[-len(jobs) :] if jobs else []

    def finish_jobs(self) -> None:
        """All drafts are done: their studies may be completed again."""
        with self.sessions.begin() as session:
            for job in session.exec(select(Job)):
                job.state = JobState.DONE

    def reasons(self) -> list[str]:
        """Of all closings, oldest first."""
        moves = all_of(self.sessions, Transition)
        return [each.reason for each in moves if (each.row_kind, each.new) == ("study", "complete")]

    def revisions(self) -> list[int]:
        return [job.revision for job in all_of(self.sessions, Job)]


@contextmanager
def running_node(settings: Settings, sessions: Sessions, rules: Completeness = ALL_RULES) -> Iterator[Node]:
    node = Node(settings, sessions, rules)
    try:
        yield node
    finally:
        node.stop()


def associate(node: Node, *, calling: str = "MODALITY") -> Association:
    ae = Requestor(calling, timeout_s=LONG_S)
    for context in (DX, SR, MODALITY_PERFORMED_PROCEDURE_STEP, INSTANCE_AVAILABILITY_NOTIFICATION):
        ae.add_requested_context(context, [ExplicitVRLittleEndian])
    assoc = ae.associate("127.0.0.1", node.port, ae_title="CXRNODE")
    assert assoc.is_established
    return assoc


@contextmanager
def associated(node: Node, *, calling: str = "MODALITY") -> Iterator[Association]:
    """Released at the end; the node knows it."""
    assoc = associate(node, calling=calling)
    try:
        yield assoc
    finally:
        release(node, assoc)


def release(node: Node, assoc: Association) -> None:
    with _seen_by(node, assoc):
        assoc.release()


def abort(node: Node, assoc: Association) -> None:
    with _seen_by(node, assoc):
        assoc.abort()


@contextmanager
def _seen_by(node: Node, assoc: Association) -> Iterator[None]:
    """Wait until the node has done with what ended in the block."""
    port = assoc.dul.socket.socket.getsockname()[1]
    yield
    wait_until(lambda: port not in _peer_ports(node), "the node has seen the association's end")


def _peer_ports(node: Node) -> list[int]:
    return [each.requestor.port for each in node.server.active_associations]


def send(assoc: Association, instance: str, *, study: str = STUDY, **elements: Any) -> None:
    ds = make_dx(SOPInstanceUID=instance, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", **elements)
    ds.file_meta.MediaStorageSOPInstanceUID = instance
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    assert assoc.send_c_store(ds).Status == 0


def reference(instance: str, sop_class: str | None = DX, **elements: str | None) -> Dataset:
    """An item that names an object (PS3.3 table 10-11)."""
    return dataset(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=instance, **elements)


def dataset(**elements: Any) -> Dataset:
    """Elements by keyword, lists as sequences; None leaves one out. Values are not validated."""
    ds = Dataset()
    with config.disable_value_validation():
        for keyword, value in elements.items():
            if value is not None:
                setattr(ds, keyword, Sequence(value) if isinstance(value, list) else value)
    return ds
