"""A node that removes images, for the tests of retention."""

from datetime import timedelta

from doubles import NOON, FrozenClock
from rows import add_delivery, add_job, add_report, receive
from sqlmodel import select
from stored_files import whole_files

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import StorageFull
from dicom_node.lifecycle import advance
from dicom_node.models import Study
from dicom_node.peers import Completeness, Retention
from dicom_node.receive.completeness import close_quiet_studies
from dicom_node.receive.intake import Receiver
from dicom_node.retention import rounds
from dicom_node.states import StudyState
from dicom_node.storage import InstanceStore, StoredFile

DAYS = 30
TIME_IS_UP = NOON + timedelta(days=DAYS, seconds=1)


class Disk(InstanceStore):
    """With as much room as a test says."""

    free: int | StorageFull = 10**12

    def free_bytes(self) -> int:
        if isinstance(self.free, StorageFull):
            raise self.free
        return self.free


def uids_of(number: int) -> dict[str, str]:
    return {
        "SOPInstanceUID": f"1.2.{number}",
        "SeriesInstanceUID": f"1.3.{number}",
        "StudyInstanceUID": f"1.4.{number}",
    }


class House:
    """A node that removes images, on a clock that stands."""

    def __init__(self, settings: Settings, sessions: Sessions, **wanted: int) -> None:
        self.settings = settings.model_copy(update={"retention": Retention(**(wanted or {"days": DAYS}))})
        self.sessions, self.store, self.clock = sessions, Disk(settings.instances_dir), FrozenClock(TIME_IS_UP)
        self.receiver = Receiver(self.store, sessions, self.clock)
        self.trail = AuditTrail(settings.audit_dir, "CXRNODE", self.clock)

    def add_ended(self, number: int = 1) -> int:
        """A study of one film whose draft was delivered at noon. Gives its id."""
        uids = uids_of(number)
        with self.sessions.begin() as session:
            instance = receive(session, self.store, **uids)
            instance.sha256 = self.store.sha256(StoredFile(instance.path, instance.size_bytes))
            study = session.exec(select(Study).where(Study.study_instance_uid == uids["StudyInstanceUID"])).one()
            advance(session, study, StudyState.COMPLETE, now=NOON)
            report = add_report(session, add_job(session, study, state="done"), instance)
            add_delivery(session, report, state="delivered")
            return study.id or 0

    def go_round(self) -> None:
        retention = rounds.Retention(self.settings, self.receiver, self.trail)
        while retention.go_round():
            pass

    def send_again(self, number: int = 1) -> None:
        with self.sessions.begin() as session:
            receive(session, self.store, now=self.clock(), **uids_of(number))

    def files(self) -> list[str]:
        return whole_files(self.settings.instances_dir)

    def close_quiet(self) -> None:
        """As the sweep does when nothing came for a while."""
        self.clock.forward(self.settings.idle_timeout_s + 1)
        with self.sessions.begin() as session:
            timeout_s, rules = self.settings.idle_timeout_s, Completeness()
            assert close_quiet_studies(session, now=self.clock(), idle_timeout_s=timeout_s, rules=rules)
