"""A draft that is withdrawn: what is pending stops, and who has it is told, once and as the same bytes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from doubles import DELIVERED, FINDINGS, NOON, REJECTED, RETRY, FakeDestination, FakeWriter, FrozenClock
from pydicom import dcmread
from pydicom.dataset import Dataset
from rows import add_job, add_study, all_of, only, receive
from sqlmodel import Session, select
from stored_files import whole_files
from waiting import free_port

from dicom_node.audit import AuditTrail
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import PeerUnreachable, Permanent
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, FinalReport, InboundMessage, Instance, Job, Order, Report, Series, Study
from dicom_node.operator import resend, retry
from dicom_node.peers import MllpDestination
from dicom_node.retention.removal import give_up_images, remove_files
from dicom_node.states import NOT_TOLD_FINAL, SUPERSEDED, WITHDRAWN, DeliveryKind, DeliveryState
from dicom_node.storage import InstanceStore, StoredFile
from dicom_node.timeline import study_status, timeline
from dicom_node.withdrawal import withdraw
from integration.destinations import NOT_SENT, Ack, Destination, Encoded, Outcome
from integration.document import ReportDocument
from integration.history import text_rows
from integration.mllp import MllpSender
from integration.order_numbers import numbers_in
from integration.oru import encode_oru
from integration.oru_cancellation import encode_cancellation
from integration.relay import Teller, deliver_due
from integration.store_scu import StoreScu
from workers.inference import Reader, infer

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example", "rejection_notes": True}
QUIET = {"name": "quiet", "ae_title": "QUIET", "host": "quiet.example"}
RIS = {"name": "ris", "host": "ris.example", "cancellations": True}
AWAY = Ack(Outcome.RETRY, NOT_SENT, "the peer cannot be reached")
OTHER_PATIENT = Ack(Outcome.REJECTED, NOT_SENT, "has this study under another patient")
UNANSWERED = Ack(Outcome.RETRY, "", "no answer")


class Recording(FakeDestination):
    """A PACS that is sent the real objects, and answers what the test wants."""

    def __init__(self, settings: Settings, name: str, kind: DeliveryKind) -> None:
        super().__init__(name, kind)
        pacs = next(each for each in settings.pacs if each.name == name)
        self._encoder = StoreScu(pacs, settings.ae_title, kind)

    def encode(self, document: ReportDocument) -> Encoded:
        self.documents.append(document)
        return self._encoder.encode(document)

    def objects(self) -> list[Dataset]:
        return [dcmread(BytesIO(payload)) for payload in self.sent]


class Spoken(FakeDestination):
    """A RIS that is sent the real messages."""

    def __init__(self, write: Callable[[ReportDocument, MllpDestination], Encoded], kind: DeliveryKind) -> None:
        super().__init__("ris", kind)
        self._write = write

    def encode(self, document: ReportDocument) -> Encoded:
        self.documents.append(document)
        return self._write(document, MllpDestination(name="ris", host="ris.example"))


class House:
    """A node with two PACS and a RIS, of which one PACS takes no rejection notes."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self.settings = Settings(data_dir=settings.data_dir, pacs=[PACS, QUIET], ris=[RIS], max_delivery_attempts=3)
        self.sessions, self.clock = sessions, FrozenClock()
        self.store = InstanceStore(settings.instances_dir)
        self.writer = FakeWriter()
        self.reader = Reader(sessions, self.store, self.writer, self.settings, self.clock)
        self.teller = Teller(sessions, self.store, self.settings, self.clock)
        self.pacs = Recording(self.settings, "pacs", DeliveryKind.SR)
        self.notes = Recording(self.settings, "pacs", DeliveryKind.REJECTION)
        self.quiet = Recording(self.settings, "quiet", DeliveryKind.SR)
        self.ris = FakeDestination("ris", DeliveryKind.ORU)
        self.cancellations = FakeDestination("ris", DeliveryKind.CANCELLATION)

    def receive(self, **elements: Any) -> None:
        """A film, and its job."""
        with self.sessions.begin() as session:
            instance = receive(session, self.store, **elements)
            study = session.get_one(Study, session.get_one(Series, instance.series_id).study_id)
            study.state = "complete"
            add_job(session, study, revision=len(session.exec(select(Job)).all()) + 1)

    def draft(self) -> None:
        assert infer(self.reader)

    def tell(self, *destinations: Destination) -> None:
        for each in destinations:
            while deliver_due(self.teller, each):
                pass

    def withdraw(self, reason: str = "drafted for the wrong patient", accession: str = "CANARY-ACC") -> list[str]:
        with self.sessions.begin() as session:
            study = session.exec(select(Study.id).where(Study.accession_number == accession)).one()
            return withdraw(session, self.settings, study, reason, self.clock())

    def remove_images(self) -> None:
        """As retention does when their time is up."""
        with self.sessions.begin() as session:
            (instance,), study = session.exec(select(Instance)).all(), session.exec(select(Study)).one()
            instance.sha256 = self.store.sha256(StoredFile(instance.path, instance.size_bytes))
            study_id = study.id or 0
        self.clock.forward(60)
        now = self.clock()
        with self.sessions.begin() as session:
            assert give_up_images(session, self.store, study_id, ended_before=now, now=now, why="a test") == 1
        trail = AuditTrail(self.settings.audit_dir, "CXRNODE", self.clock)
        assert remove_files(self.sessions, self.store, trail, study_id) == []
        trail.stopped()
        assert whole_files(self.settings.instances_dir) == []

    def deliveries(self) -> dict[tuple[str, str], str]:
        """State by destination and kind, of the newest draft that has one."""
        return {(each.destination, each.kind): each.state for each in all_of(self.sessions, Delivery)}

    def jobs(self) -> list[str]:
        return [each.state for each in all_of(self.sessions, Job)]

    def status(self) -> tuple[str, str]:
        with self.sessions() as session:
            found = study_status(session, session.exec(select(Study)).one())
            return found.where, found.why


@pytest.fixture
def house(sessions: Sessions, settings: Settings) -> House:
    return House(sessions, settings)


@pytest.fixture
def told(house: House) -> House:
    """Everybody has the draft."""
    house.receive()
    house.draft()
    house.tell(house.pacs, house.quiet, house.ris)
    assert house.jobs() == ["done"]
    return house


def test_who_has_a_draft_that_is_withdrawn_is_told_where_the_site_allows_it(told: House) -> None:
    assert told.withdraw() == [
        "pacs is told by a rejection note",
        "quiet was not told: it does not take rejection notes",
        "ris is told by a cancelling ORU",
    ]
    assert told.status() == (
        "reported",
        "withdrawn (drafted for the wrong patient): pacs delivered; quiet delivered; ris delivered; "
        "pacs rejection pending; ris cancellation pending",
    )
    told.tell(told.notes, told.cancellations)
    (note,), (sr,) = told.notes.objects(), told.pacs.objects()
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == sr.SOPInstanceUID
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (sr.StudyInstanceUID, sr.SeriesInstanceUID)
    assert len(told.cancellations.sent) == 1
    assert told.status() == ("done", f"withdrawn (drafted for the wrong patient): {WITHDRAWN}")


def test_a_draft_is_withdrawn_also_when_its_image_was_removed(house: House) -> None:
    ris, cancellations = Spoken(encode_oru, DeliveryKind.ORU), Spoken(encode_cancellation, DeliveryKind.CANCELLATION)
    house.receive()
    house.draft()
    house.tell(house.pacs, house.quiet, ris)
    house.remove_images()
    house.withdraw()
    house.tell(house.notes, cancellations)
    (note,), (sr,) = house.notes.objects(), house.pacs.objects()
    assert (note.PatientID, note.PatientName) == (sr.PatientID, sr.PatientName)
    assert patient_in(cancellations.sent[0]) == patient_in(ris.sent[0])
    assert house.jobs() == ["done"]


def patient_in(message: bytes) -> list[bytes]:
    return [segment for segment in message.split(b"\r") if segment.startswith(b"PID")]


def test_a_withdrawal_is_in_the_timeline_and_with_the_draft(told: House) -> None:
    told.clock.forward(60)
    told.withdraw()
    report = only(told.sessions, Report)
    assert (report.withdrawn_at, report.withdrawal_reason) == (
        NOON + timedelta(seconds=60),
        "drafted for the wrong patient",
    )
    with told.sessions() as session:
        story = [moment.what.split(": ", 1)[1] for moment in timeline(session, session.exec(select(Study)).one())]
    assert story[-7:] == [
        "complete (an operator withdrew its drafts: drafted for the wrong patient)",
        "pending (tells pacs that the draft was withdrawn)",
        "pending (tells ris that the draft was withdrawn)",
        "done → reported (the draft was withdrawn)",
        "complete (pacs is told by a rejection note)",
        "complete (quiet was not told: it does not take rejection notes)",
        "complete (ris is told by a cancelling ORU)",
    ]


def test_a_ris_that_is_gone_from_the_settings_is_not_taken_for_the_next(told: House) -> None:
    next_ris = MllpDestination(name="next", host="ris.example", cancellations=True)
    told.settings = told.settings.model_copy(update={"ris": (next_ris,)})
    assert "ris was not told: it is not in the settings" in told.withdraw()


def test_what_is_pending_stops_and_who_never_had_it_is_not_told(house: House) -> None:
    house.receive()
    house.draft()
    house.tell(house.pacs)
    assert house.withdraw() == ["pacs is told by a rejection note"]
    house.tell(house.quiet, house.ris, house.notes, house.cancellations)
    assert (house.quiet.sent, house.ris.sent, house.cancellations.sent) == ([], [], [])
    assert house.deliveries() == {
        ("pacs", "sr"): "delivered",
        ("quiet", "sr"): "cancelled",
        ("ris", "oru"): "cancelled",
        ("pacs", "rejection"): "delivered",
    }
    assert house.jobs() == ["done"]


def test_before_anybody_has_it_a_withdrawal_ends_the_job(house: House) -> None:
    house.receive()
    house.draft()
    assert house.withdraw() == ["nobody has a draft of it"]
    assert (house.jobs(), only(house.sessions, Job).reason) == (["done"], WITHDRAWN)


@pytest.mark.parametrize("ack", [RETRY, REJECTED])
def test_a_failure_to_deliver_is_none_any_more(ack: Ack, house: House) -> None:
    """Whoever refused it has nothing; whoever did not answer may have it."""
    house.receive()
    house.draft()
    house.pacs.acks = (ack,)
    house.settings = house.settings.model_copy(update={"max_delivery_attempts": 1})
    house.teller = Teller(house.sessions, house.store, house.settings, house.clock)
    house.tell(house.pacs, house.quiet, house.ris)
    assert house.jobs() == ["failed"]
    sentences = house.withdraw()
    assert ("pacs is told by a rejection note" in sentences) == (ack is RETRY)
    house.tell(house.notes, house.cancellations)
    assert house.jobs() == ["done"]
    assert house.deliveries()["pacs", "sr"] == "cancelled"


def test_what_is_on_its_way_when_it_is_withdrawn_is_rejected_after_it_has_arrived(house: House) -> None:
    house.receive()
    house.draft()

    def in_between() -> None:
        assert "pacs is told by a rejection note" in house.withdraw()
        house.tell(house.notes)  # waits: the report is not there yet
        assert house.notes.sent == []

    house.pacs.before = in_between
    house.tell(house.pacs)
    house.tell(house.notes)
    (note,) = house.notes.objects()
    assert len(note.ContentSequence) == 2
    assert house.jobs() == ["done"]


def test_what_is_withdrawn_while_it_is_encoded_is_neither_sent_nor_taken_back(house: House) -> None:
    house.receive()
    house.draft()
    told: list[list[str]] = []

    class Slow(FakeDestination):
        def encode(self, document: ReportDocument) -> Encoded:
            told.append(house.withdraw())
            return super().encode(document)

    ris = Slow("ris", DeliveryKind.ORU)
    house.tell(ris)
    house.tell(house.cancellations)
    assert (ris.sent, house.cancellations.sent) == ([], [])
    assert told == [["ris is told by a cancelling ORU"]]
    assert house.deliveries()["ris", "cancellation"] == "cancelled"


def test_what_was_refused_after_all_is_not_rejected(house: House) -> None:
    house.receive()
    house.draft()
    house.pacs.acks, house.pacs.before = (REJECTED,), house.withdraw
    house.tell(house.pacs)
    house.tell(house.notes)
    assert house.notes.sent == []
    assert house.deliveries()["pacs", "rejection"] == "cancelled"


def test_a_draft_under_way_is_not_made(house: House) -> None:
    house.receive()
    house.writer.before = house.withdraw
    house.draft()
    assert (house.jobs(), only(house.sessions, Job).reason) == (["skipped"], WITHDRAWN)
    assert all_of(house.sessions, Report) == []


def test_a_draft_that_waits_for_a_worker_is_not_made(house: House) -> None:
    house.receive()
    assert house.withdraw() == ["nobody has a draft of it"]
    assert not infer(house.reader)
    assert house.jobs() == ["skipped"]


def test_a_withdrawal_that_could_not_be_told_waits_for_a_person_and_goes_out_as_the_same_bytes(told: House) -> None:
    told.withdraw()
    told.notes.acks = (REJECTED, DELIVERED)
    told.tell(told.notes, told.cancellations)
    assert told.status()[0] == "failed"
    with told.sessions.begin() as session:
        assert retry(session, session.exec(select(Study.id)).one(), told.clock()) == "sends again to pacs"
    told.tell(told.notes)
    first, second = told.notes.sent
    assert (first == second, told.jobs()) == (True, ["done"])


def test_a_second_withdrawal_is_refused_and_changes_nothing(told: House) -> None:
    told.withdraw()
    before = len(all_of(told.sessions, Delivery))
    with pytest.raises(Permanent, match="its drafts were withdrawn already"):
        told.withdraw("again")
    assert len(all_of(told.sessions, Delivery)) == before
    assert only(told.sessions, Report).withdrawal_reason == "drafted for the wrong patient"


def test_a_study_without_a_draft_has_none_to_withdraw(house: House) -> None:
    with house.sessions.begin() as session:
        add_study(session, accession_number="CANARY-ACC")
    with pytest.raises(Permanent, match="it has no draft"):
        house.withdraw()
    with house.sessions.begin() as session, pytest.raises(Permanent, match="study 4711 does not exist"):
        withdraw(session, house.settings, 4711, "none", NOON)


def test_of_several_drafts_each_object_is_rejected_and_the_newest_message_cancelled(house: House) -> None:
    for number, view in enumerate(["AP", "PA"]):
        house.receive(SOPInstanceUID=f"1.2.{number}", ViewPosition=view)
        house.draft()
        house.tell(house.pacs, house.ris)
    assert house.withdraw() == ["pacs is told by a rejection note", "ris is told by a cancelling ORU"]
    house.tell(house.notes, house.cancellations)
    assert (len(house.pacs.sent), len(house.notes.sent)) == (2, 2)
    assert [document.revision for document in house.cancellations.documents] == [2]
    assert house.jobs() == ["done", "done"]


def test_a_ris_keeps_no_row_of_a_longer_draft_before(house: House) -> None:
    ris, cancellations = Spoken(encode_oru, DeliveryKind.ORU), Spoken(encode_cancellation, DeliveryKind.CANCELLATION)
    for number, (view, findings) in enumerate([("AP", "\n".join(f"Line {at}." for at in range(9))), ("PA", "Clear.")]):
        house.writer.findings = replace(FINDINGS, text=findings)
        house.receive(SOPInstanceUID=f"1.2.{number}", ViewPosition=view)
        house.draft()
        house.tell(ris)
    house.withdraw()
    house.tell(cancellations)
    longest, shorter = (text_rows(payload) for payload in ris.sent)
    assert longest == shorter == text_rows(cancellations.sent[0]) >= 10


def test_a_cancellation_names_the_order_that_the_draft_named(house: House) -> None:
    """Another order of the same accession number has come since."""
    ris, cancellations = Spoken(encode_oru, DeliveryKind.ORU), Spoken(encode_cancellation, DeliveryKind.CANCELLATION)
    house.receive()
    hear_order(house, "PLACER1")
    house.draft()
    house.tell(ris)
    hear_order(house, "PLACER2")
    house.withdraw()
    house.tell(cancellations)
    told = [numbers_in(payload).placer for payload in (*ris.sent, *cancellations.sent)]
    assert told == [("PLACER1",), ("PLACER1",)]


def test_of_a_ris_each_message_is_cancelled_back_to_the_newest_that_it_acknowledged(house: House) -> None:
    house.ris.acks = (DELIVERED, UNANSWERED)
    for number, view in enumerate(["AP", "PA"]):
        house.receive(SOPInstanceUID=f"1.2.{number}", ViewPosition=view)
        house.draft()
        house.tell(house.ris)
    assert house.withdraw() == ["ris is told by a cancelling ORU"]
    house.tell(house.cancellations)
    assert [document.revision for document in house.cancellations.documents] == [2, 1]


def test_what_a_ris_took_and_is_to_be_sent_again_has_been_taken(house: House) -> None:
    """It still stands in the place of the older one, for a withdrawal as for the draft that comes next."""
    for number, view in enumerate(["AP", "PA"]):
        house.receive(SOPInstanceUID=f"1.2.{number}", ViewPosition=view)
        house.draft()
        house.tell(house.ris)
    with house.sessions.begin() as session:
        resend(session, session.exec(select(Study.id)).one(), "ris", NOON)
    assert house.withdraw() == ["ris is told by a cancelling ORU"]
    house.tell(house.cancellations)
    assert [document.revision for document in house.cancellations.documents] == [2]


def test_a_draft_is_the_next_of_one_that_was_to_be_sent_again(house: House) -> None:
    house.receive(SOPInstanceUID="1.2.0", ViewPosition="AP")
    house.draft()
    house.tell(house.pacs, house.quiet, house.ris)
    with house.sessions.begin() as session:
        resend(session, session.exec(select(Study.id)).one(), "pacs", NOON)
    house.receive(SOPInstanceUID="1.2.1", ViewPosition="PA")
    house.draft()
    house.tell(house.pacs)
    assert house.pacs.documents[-1].predecessor is not None


def test_a_later_draft_waits_until_the_one_before_is_taken_back(told: House) -> None:
    """Both have the numbers of the order: the cancelling ORU would delete the later draft."""
    told.withdraw()
    told.receive(SOPInstanceUID="1.2.3", ViewPosition="PA")
    told.draft()
    told.tell(told.ris, told.pacs)
    assert (len(told.ris.sent), len(told.pacs.sent)) == (1, 1)
    told.tell(told.cancellations, told.ris)
    assert (len(told.cancellations.sent), len(told.ris.sent), len(told.pacs.sent)) == (1, 2, 1)
    assert told.ris.documents[-1].predecessor is None


def test_a_cancellation_that_failed_does_not_take_back_a_later_draft(told: House) -> None:
    told.withdraw()
    told.cancellations.acks = (REJECTED, DELIVERED)
    told.tell(told.cancellations)
    told.receive(SOPInstanceUID="1.2.3", ViewPosition="PA")
    told.draft()
    told.tell(told.ris)
    with told.sessions.begin() as session:
        failed = session.exec(select(Delivery).where(Delivery.kind == DeliveryKind.CANCELLATION)).one()
        advance(session, failed, DeliveryState.PENDING, now=told.clock(), attempts=0)
    told.tell(told.cancellations)
    (last,) = [each for each in all_of(told.sessions, Delivery) if each.kind == DeliveryKind.CANCELLATION]
    assert (len(told.cancellations.sent), last.state, last.reason) == (1, "cancelled", SUPERSEDED)


def test_studies_beside_each_other_are_drafted_sent_and_withdrawn_each_for_itself(house: House) -> None:
    ris, cancellations = Spoken(encode_oru, DeliveryKind.ORU), Spoken(encode_cancellation, DeliveryKind.CANCELLATION)
    for patient in "12":  # the revision of the second is higher
        hear_order(house, f"PLACER{patient}", f"ACC{patient}", f"ID{patient}")
        receive_beside(house, patient, view="AP")
    house.draft()
    house.draft()
    house.tell(house.pacs, ris)  # and the other PACS later
    assert {document.predecessor for document in (*house.pacs.documents, *ris.documents)} == {None}
    assert {document.rows_sent for document in ris.documents} == {0}
    drafts = house.pacs.objects()

    receive_beside(house, "1", view="PA")  # a job of the first that waits, and must go on waiting
    house.withdraw(accession="ACC2")
    house.tell(house.quiet, house.notes, cancellations)
    assert [document.evidence.PatientID for document in house.quiet.documents] == ["ID1"]
    assert house.jobs() == ["done", "done", "queued"]
    house.withdraw(accession="ACC1")
    house.tell(house.notes, cancellations)
    assert house.jobs() == ["done", "done", "skipped"]
    assert [numbers_in(payload).placer for payload in cancellations.sent] == [("PLACER2",), ("PLACER1",)]
    for note, draft in zip(house.notes.objects(), reversed(drafts), strict=True):
        assert (note.PatientID, note.StudyInstanceUID) == (draft.PatientID, draft.StudyInstanceUID)
        (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
        (series,) = evidence.ReferencedSeriesSequence
        (named,) = series.ReferencedSOPSequence
        assert named.ReferencedSOPInstanceUID == draft.SOPInstanceUID


def test_a_message_replaces_the_sr_of_its_own_study(house: House) -> None:
    for patient, view in [("1", "AP"), ("2", "AP"), ("2", "PA")]:
        receive_beside(house, patient, view=view)
        house.draft()
        house.tell(house.pacs, house.ris)
    replaced = house.ris.documents[-1].predecessor
    assert replaced is not None
    assert replaced.sop_instance_uid == house.pacs.objects()[1].SOPInstanceUID


def receive_beside(house: House, patient: str, *, view: str) -> None:
    """A film of this patient's study."""
    uids = {
        "StudyInstanceUID": f"1.2.{patient}",
        "SeriesInstanceUID": f"1.2.{patient}.1",
        "SOPInstanceUID": f"1.2.{patient}.1.{ord(view[0])}",
    }
    house.receive(ViewPosition=view, PatientID=f"ID{patient}", AccessionNumber=f"ACC{patient}", **uids)


def hear(session: Session, control_id: str) -> int:
    """A message of the RIS. Gives its id."""
    message = InboundMessage(
        sending_application="", sending_facility="", control_id=control_id, message_type="", raw=b"", sha256="",
        is_used=True, reason="", received_at=NOON,
    )  # fmt: skip
    session.add(message)
    session.flush()
    assert message.id is not None
    return message.id


def hear_order(house: House, placer: str, accession: str = "CANARY-ACC", patient: str = "CANARY-ID") -> None:
    """The RIS tells another order of the same accession number."""
    with house.sessions.begin() as session:
        order = Order(message_id=hear(session, placer), placer_order_number=placer, updated_at=NOON, created_at=NOON)
        order.accession_number, order.patient_identifiers = accession, f'[["{patient}"]]'
        session.add(order)


def hear_final(told: House) -> None:
    """The RIS tells the final report of the study."""
    with told.sessions.begin() as session:
        study_uid = session.exec(select(Study.study_instance_uid)).one()
        final = FinalReport(
            message_id=hear(session, "final"), study_instance_uid=study_uid, status="F", text="", created_at=NOON
        )
        final.patient_identifiers = '[["CANARY-ID"]]'
        session.add(final)


def test_a_cancellation_does_not_take_back_the_final_report(told: House) -> None:
    told.withdraw()
    hear_final(told)
    told.tell(told.notes, told.cancellations)
    (last,) = [each for each in all_of(told.sessions, Delivery) if each.kind == DeliveryKind.CANCELLATION]
    assert (last.state, last.reason) == ("cancelled", f"ris {NOT_TOLD_FINAL}")
    assert (len(told.notes.sent), told.cancellations.sent, told.jobs()) == (1, [], ["done"])


def test_a_ris_with_the_final_report_is_not_said_to_be_told(told: House) -> None:
    hear_final(told)
    assert f"ris {NOT_TOLD_FINAL}" in told.withdraw()
    kinds = [each.kind for each in all_of(told.sessions, Delivery)]
    assert (DeliveryKind.REJECTION in kinds, DeliveryKind.CANCELLATION in kinds) == (True, False)


@pytest.mark.parametrize(
    ("acks", "is_told"),
    [
        ((OTHER_PATIENT,), False),
        ((AWAY,), False),
        ((AWAY, REJECTED), False),
        ((UNANSWERED, REJECTED), True),
        ((UNANSWERED, OTHER_PATIENT), True),
        ((UNANSWERED, AWAY), True),
    ],
)
def test_what_went_out_unanswered_may_be_there_whatever_is_answered_later(
    acks: tuple[Ack, ...], is_told: bool, house: House
) -> None:
    house.receive()
    house.draft()
    house.pacs.acks = acks
    for _ in acks:
        house.tell(house.pacs)
        house.clock.forward(3_600)
    assert len(house.pacs.sent) == len(acks)
    assert ("pacs is told by a rejection note" in house.withdraw()) == is_told
    house.tell(house.notes)
    assert len(house.notes.sent) == is_told


def test_a_ris_that_was_never_reached_is_not_told_of_a_withdrawal(house: House) -> None:
    house.receive()
    house.draft()
    house.tell(MllpSender(MllpDestination(name="ris", host="127.0.0.1", port=free_port())))
    assert house.withdraw() == ["nobody has a draft of it"]
    assert house.jobs() == ["done"]


def test_what_could_not_be_encoded_yet_is_at_nobody(house: House) -> None:
    house.receive()
    house.draft()
    house.tell(FakeDestination(encode_error=PeerUnreachable("the disk is slow")))
    assert house.withdraw() == ["nobody has a draft of it"]


def test_a_withdrawal_is_told_whatever_else_came_since(told: House) -> None:
    """Of another patient's object in the study all the more."""
    told.receive(SOPInstanceUID="1.2.3", PatientID="CANARY-OTHER")
    told.withdraw()
    told.tell(told.notes, told.cancellations)
    assert (len(told.notes.sent), len(told.cancellations.sent)) == (1, 1)


def test_what_waits_for_its_commitment_is_not_asked_for_any_more(house: House) -> None:
    house.receive()
    house.draft()
    with house.sessions.begin() as session:
        for delivery in session.exec(select(Delivery)):
            delivery.wants_commitment = True
    house.tell(house.pacs)
    house.withdraw()
    house.tell(house.notes)
    assert house.jobs() == ["done"]


def test_a_newer_draft_stops_what_is_pending_of_the_older_one(house: House) -> None:
    house.receive(ViewPosition="AP")
    house.draft()
    house.tell(house.pacs)
    house.ris.acks = (RETRY,)
    house.tell(house.ris)
    house.receive(SOPInstanceUID="1.2.3", ViewPosition="PA")
    house.draft()
    older = all_of(house.sessions, Delivery)[:3]
    assert [(each.state, each.reason) for each in older[1:]] == [("cancelled", SUPERSEDED)] * 2
    assert (all_of(house.sessions, Job)[0].state, all_of(house.sessions, Job)[0].reason) == ("done", SUPERSEDED)
    house.ris.acks = (DELIVERED,)
    house.tell(house.pacs, house.quiet, house.ris)
    first, second = house.pacs.documents
    assert (first.predecessor, second.predecessor is not None) == (None, True)
    sent = house.pacs.objects()
    assert second.predecessor is not None
    assert second.predecessor.sop_instance_uid == sent[0].SOPInstanceUID
    assert (second.predecessor.revision, second.predecessor.drafted_at) == (1, NOON)
    assert [document.predecessor for document in house.quiet.documents] == [None]  # it never had the first
    assert [document.predecessor for document in house.ris.documents[1:]] == [None]


def test_what_a_draft_replaces_is_named_to_each_pacs_as_it_has_it(house: House) -> None:
    other = Settings(data_dir=house.settings.data_dir, pacs=[QUIET | {"sr_class": "comprehensive"}])
    house.quiet = Recording(other, "quiet", DeliveryKind.SR)
    for uid, view in (("1.2.2", "AP"), ("1.2.3", "PA")):
        house.receive(SOPInstanceUID=uid, ViewPosition=view)
        house.draft()
        house.tell(house.pacs, house.quiet)
    for pacs in (house.pacs, house.quiet):
        (first, _), named = pacs.objects(), pacs.documents[1].predecessor
        assert named is not None
        assert (named.sop_class_uid, named.sop_instance_uid) == (first.SOPClassUID, first.SOPInstanceUID)


def test_an_older_draft_on_its_way_is_not_overtaken(house: House) -> None:
    house.receive(ViewPosition="AP")
    house.draft()
    second = Recording(house.settings, "pacs", DeliveryKind.SR)

    def in_between() -> None:
        house.pacs.before = lambda: None
        house.receive(SOPInstanceUID="1.2.3", ViewPosition="PA")
        house.draft()
        house.tell(second)
        assert second.sent == []

    house.pacs.acks, house.pacs.before = (RETRY,), in_between
    assert deliver_due(house.teller, house.pacs)
    house.clock.forward(3_600)
    house.tell(second)
    assert [(each.revision) for each in second.documents] == [2]
    first = all_of(house.sessions, Delivery)[0]
    assert (first.state, first.reason, len(house.pacs.sent)) == ("cancelled", SUPERSEDED, 1)
