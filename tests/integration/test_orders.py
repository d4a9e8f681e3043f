"""Orders meet images, whichever comes first; final reports close cases; merges keep a person one."""

import re
from dataclasses import replace
from typing import Any

import pytest
from doubles import DELIVERED, NOON, RETRY, FakeDestination, FakeWriter, FrozenClock
from films import CANARY, make_dx
from hl7_messages import ACCESSION, PATIENT_ID, code_of, final, merge, order
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from rows import add_job, add_study, all_of, only, receive
from sqlmodel import Session, select

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import OrderConflict
from dicom_node.models import Delivery, InboundMessage, Job, Order, Report, Series, Study
from dicom_node.operator import retry
from dicom_node.orders import ROUTINE, order_of, priority_of
from dicom_node.queue import jobs_to_ring
from dicom_node.states import CLOSED
from dicom_node.storage import InstanceStore
from dicom_node.timeline import list_statuses, timeline
from integration.message_intake import MessageIntake
from integration.oru import encode_oru
from integration.relay import Teller, deliver_due
from integration.structured_report import build_sr
from workers.inference import Reader, infer

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs.example"}
RIS = {"name": "ris", "host": "ris.example"}
STUDY_UID = str(make_dx().StudyInstanceUID)
OTHER = "CANARY-OTHER^^^HOSP^MR"


class House:
    """A node's three arms around one database."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self.sessions = sessions
        self.settings = Settings(data_dir=settings.data_dir, pacs=[PACS], ris=[RIS], time_zone="Europe/Berlin")
        self.clock = FrozenClock()
        self.store = InstanceStore(settings.instances_dir)
        self.intake = MessageIntake(self.settings, sessions, self.clock)
        self.writer = Prompted()
        self.pacs = FakeDestination()
        self.reader = Reader(sessions, self.store, self.writer, self.settings, self.clock)
        self.teller = Teller(sessions, self.store, self.settings, self.clock)

    def hear(self, *messages: bytes) -> None:
        assert {code_of(each) for each in self.intake.take(messages)} == {"AA"}

    def receive(self, **elements: Any) -> None:
        """A film, and its job."""
        with self.sessions.begin() as session:
            instance = receive(session, self.store, **elements)
            study = session.exec(select(Study).join(Series).where(Series.id == instance.series_id)).one()
            study.state = "complete"
            revision = len(session.exec(select(Job).where(Job.study_id == study.id)).all()) + 1
            add_job(session, study, revision=revision, priority=priority_of(session, study))

    def draft(self) -> Job:
        infer(self.reader)
        return all_of(self.sessions, Job)[-1]

    def is_held(self) -> bool:
        job = self.draft()
        return job.state == "failed" and job.reason.endswith(HELD)

    def try_again(self) -> None:
        with self.sessions.begin() as session:
            retry(session, session.exec(select(Study.id)).one(), self.clock())

    def tell(self) -> list[str]:
        """One try at each delivery that is due to the PACS; the states of all deliveries."""
        while deliver_due(self.teller, self.pacs):
            pass
        return [each.state for each in all_of(self.sessions, Delivery)]

    def story(self) -> list[str]:
        with self.sessions() as session:
            return [moment.what for moment in timeline(session, session.exec(select(Study)).one())]


class Prompted(FakeWriter):
    """A writer that remembers what it was told."""

    def write_findings(self, pixels: Any, indication: str | None) -> Any:
        self.indications = [*getattr(self, "indications", []), indication]
        return super().write_findings(pixels, indication)


@pytest.fixture
def house(sessions: Sessions, settings: Settings) -> House:
    return House(sessions, settings)


def request(**elements: str) -> Sequence:
    """Request Attributes Sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


@pytest.mark.parametrize("kind", ["ORM^O01", "OMI^O23^OMI_O23", "OMG^O19^OMG_O19"])
def test_an_order_is_a_row(kind: str, house: House) -> None:
    house.hear(order(kind=kind, study="1.2.3", priority="S"))
    row = only(house.sessions, Order)
    assert (row.accession_number, row.study_instance_uid) == (ACCESSION, "1.2.3")
    assert (row.placer_order_number, row.filler_order_number) == ("PLC1^RIS", "FIL1^RIS")
    assert (row.requested_procedure_id, row.scheduled_step_id) == ("RP1", "SPS1")
    assert (row.procedure_code, row.procedure_text, row.reason_for_study) == (
        "36643-5", "XR Chest 2 Views", "Cough, fever",
    )  # fmt: skip
    assert row.procedure_scheme == "LN"
    assert (row.priority, row.is_cancelled, row.created_at) == (0, False, NOON)
    assert row.patient_identifiers == '[["CANARY-ID", "hosp"]]'


@pytest.mark.parametrize(
    ("control", "is_cancelled"),
    [("NW", False), ("XO", False), ("SC", False), ("", False), ("CA", True), ("OC", True), ("DC", True), ("CR", True)],
)
def test_an_order_control_makes_changes_or_cancels_the_order(control: str, is_cancelled: bool, house: House) -> None:
    house.hear(order(), order(control=control, control_id="C2", reason="", priority="S"))
    row = only(house.sessions, Order)
    assert (row.is_cancelled, row.priority, row.reason_for_study) == (is_cancelled, 0, "Cough, fever")
    house.hear(order(control_id="C3", reason="Dyspnoea"))
    row = only(house.sessions, Order)
    assert (row.is_cancelled, row.reason_for_study) == (False, "Dyspnoea")


def test_each_order_of_a_message_is_of_the_patient_before_it(house: House) -> None:
    (_, *second) = order(patient=OTHER, placer="X", filler="Y").decode().split("\r")
    house.hear(order() + "\r".join(second).encode())
    assert [each.patient_identifiers for each in all_of(house.sessions, Order)] == [
        '[["CANARY-ID", "hosp"]]',
        '[["CANARY-OTHER", "hosp"]]',
    ]


@pytest.mark.parametrize(
    ("second", "count"),
    [
        ({"accession": "NEW"}, 1),
        ({"placer": "PLC2"}, 1),
        ({"filler": ""}, 1),
        ({"filler": "FIL2"}, 2),
        ({"filler": "", "placer": "PLC2"}, 2),
        ({"filler": "", "placer": ""}, 1),
        ({"filler": "", "placer": "", "accession": "NEW"}, 2),
    ],
)
def test_an_order_is_known_by_its_numbers(second: dict[str, str], count: int, house: House) -> None:
    house.hear(order(), order(control="XO", control_id="C2", **second))
    assert len(all_of(house.sessions, Order)) == count


def test_an_order_that_gets_its_filler_number_later_stays_one(house: House) -> None:
    house.hear(order(filler=""), order(control="XO", control_id="C2"))
    assert only(house.sessions, Order).filler_order_number == "FIL1^RIS"


@pytest.mark.parametrize(
    ("word", "priority"),
    [("S", 0), ("STAT", 0), ("A", 1), ("T", 2), ("P", 3), ("C", 4), ("R", 5), ("", 5), ("CANARY", 5)],
)
def test_the_priority_of_an_order_is_that_of_its_job(word: str, priority: int, house: House) -> None:
    house.hear(order(study=STUDY_UID, priority=word))
    house.receive()
    assert only(house.sessions, Job).priority == priority


def test_an_urgent_order_hurries_a_job_that_waits(house: House) -> None:
    house.receive()
    house.hear(order(study=STUDY_UID, priority="S"))
    assert only(house.sessions, Job).priority == 0
    house.hear(order(study=STUDY_UID, priority="A", control="XO", control_id="C2"))
    assert only(house.sessions, Job).priority == 0


def test_a_routine_order_does_not_hurry_what_a_rule_put_last(house: House) -> None:
    house.receive()
    with house.sessions.begin() as session:
        session.exec(select(Job)).one().priority = 9
    house.hear(order(study=STUDY_UID, priority="R"))
    assert only(house.sessions, Job).priority == 9


def test_the_bell_of_a_job_that_became_urgent_is_rung_anew(house: House) -> None:
    house.receive()
    with house.sessions.begin() as session:
        session.exec(select(Job)).one().rung_at = NOON
        session.flush()
        assert jobs_to_ring(session, NOON) == []
    house.hear(order(study=STUDY_UID, priority="S"))
    with house.sessions() as session:
        assert [job.priority for job in jobs_to_ring(session, NOON)] == [0]


def test_a_study_without_an_order_is_routine(sessions: Sessions) -> None:
    with sessions.begin() as session:
        assert priority_of(session, add_study(session)) == ROUTINE


def test_an_order_before_the_images_reaches_prompt_report_and_destinations(house: House) -> None:
    house.hear(order(priority="S"))
    house.receive()
    assert house.draft().state == "reported"
    assert house.writer.indications == ["Cough, fever"]
    assert only(house.sessions, Report).indication == "Cough, fever"
    assert {each.priority for each in all_of(house.sessions, Delivery)} == {0}
    house.tell()
    (document,) = house.pacs.documents
    sent = encode_oru(document, house.settings.ris[0]).payload.decode()
    assert "\rORC|RE|PLC1^RIS|FIL1^RIS||IP\r" in sent
    assert f"|{ACCESSION}|RP1|SPS1|" in sent
    assert "|FIL1^RIS|36643-5^XR Chest 2 Views^LN|" in sent
    assert "\rTQ1|1||||||||S^Stat^HL70485\r" in sent
    (asked,) = build_sr(document).ReferencedRequestSequence
    assert (asked.PlacerOrderNumberImagingServiceRequest, asked.FillerOrderNumberImagingServiceRequest) == (
        "PLC1",
        "FIL1",
    )
    assert (asked.AccessionNumber, asked.RequestedProcedureID) == (ACCESSION, "RP1")


def test_what_the_image_says_of_its_request_comes_first(house: House) -> None:
    house.hear(order())
    own = {
        "PlacerOrderNumberImagingServiceRequest": "PLC1",
        "FillerOrderNumberImagingServiceRequest": "OWN",
        "ReasonForTheRequestedProcedure": "Fall",
    }
    house.receive(RequestAttributesSequence=request(**own))
    house.draft()
    assert house.writer.indications == ["Fall"]
    house.tell()
    sent = encode_oru(house.pacs.documents[0], house.settings.ris[0]).payload.decode()
    assert "\rORC|RE|PLC1^RIS|OWN||IP\r" in sent
    (asked,) = build_sr(house.pacs.documents[0]).ReferencedRequestSequence
    assert (asked.FillerOrderNumberImagingServiceRequest, asked.ReasonForTheRequestedProcedure) == ("OWN", "Fall")


def test_another_order_of_the_same_accession_number_is_not_mixed_with_the_image_s(house: House) -> None:
    house.hear(order())
    house.receive(RequestAttributesSequence=request(PlacerOrderNumberImagingServiceRequest="PLC2"))
    house.draft()
    house.tell()
    sent = encode_oru(house.pacs.documents[0], house.settings.ris[0]).payload.decode()
    assert f"\rORC|RE|PLC2|{ACCESSION}||IP\r" in sent
    assert "36643-5" not in sent


def test_without_an_order_and_a_reason_the_model_is_told_nothing(house: House) -> None:
    house.receive()
    house.draft()
    assert house.writer.indications == [None]
    house.tell()
    assert "ReferencedRequestSequence" not in build_sr(house.pacs.documents[0])


def test_an_order_after_the_draft_gives_its_numbers(house: House) -> None:
    house.receive()
    house.draft()
    house.hear(order())
    house.tell()
    assert house.pacs.documents[0].order.placer == ("PLC1", "RIS")


def test_a_cancelled_order_says_nothing(house: House) -> None:
    urgent = order(patient=OTHER, priority="S")
    house.hear(urgent, order(patient=OTHER, priority="S", control="CA", control_id="C2"))
    house.receive()
    assert only(house.sessions, Job).priority == ROUTINE
    assert house.draft().state == "reported"
    assert house.writer.indications == [None]


HELD = "held, its images and its order name different patients"


@pytest.mark.parametrize("named", [{}, {"study": STUDY_UID, "accession": "ANOTHER"}])
def test_an_order_of_another_patient_holds_the_draft_until_it_is_put_right(named: dict[str, str], house: House) -> None:
    house.hear(order(patient=OTHER, **named))
    house.receive()
    assert house.is_held()
    assert all_of(house.sessions, Delivery) == []
    with house.sessions() as session:
        (status,) = list_statuses(session)
    assert status.where == "failed"
    assert status.why.endswith(HELD)
    house.try_again()
    assert house.is_held()
    house.hear(order(control="XO", control_id="C2", **named))
    house.try_again()
    assert house.draft().state == "reported"


def test_an_order_of_another_patient_after_the_draft_holds_what_is_not_sent(house: House) -> None:
    house.pacs.acks = (RETRY, DELIVERED)
    house.receive()
    house.draft()
    assert house.tell() == ["pending", "pending"]
    house.hear(order(patient=OTHER))
    house.clock.forward(3_600)
    assert house.tell() == ["failed", "pending"]
    assert (only(house.sessions, Job).state, len(house.pacs.sent)) == ("failed", 1)
    house.hear(order(control="XO", control_id="C2"))
    house.try_again()
    assert house.tell()[0] == "delivered"


@pytest.mark.parametrize(
    ("elements", "patient", "agrees"),
    [
        ({}, "CANARY-ID", True),
        ({}, "CANARY-ID^^^HOSP^MR", True),
        ({}, "CANARY-NHS^^^NHS~CANARY-ID^^^HOSP^MR", True),
        ({"IssuerOfPatientID": "HOSP"}, "CANARY-ID^^^HOSP^MR", True),
        ({"IssuerOfPatientID": "hosp"}, "CANARY-ID^^^HOSP&1.2.3&ISO^MR", True),
        ({"IssuerOfPatientID": "1.2.3"}, "CANARY-ID^^^HOSP&1.2.3&ISO^MR", True),
        ({"IssuerOfPatientID": "HOSP"}, "CANARY-ID", True),
        ({"IssuerOfPatientID": "HOSP"}, "CANARY-ID^^^CLINIC^MR", False),
        ({}, "canary-id", False),
        ({"PatientID": ""}, "CANARY-ID", False),
        ({"PatientID": None}, "CANARY-ID", False),
    ],
)
def test_patients_agree_by_number_and_by_who_assigned_it(
    elements: dict[str, Any], patient: str, agrees: bool, settings: Settings, sqlite_sessions: Sessions
) -> None:
    house = House(sqlite_sessions, settings)
    house.hear(order(patient=patient))
    house.receive(**elements)
    assert (house.draft().state == "reported") is agrees


def test_an_accession_number_of_two_sites_is_the_patients_own(house: House) -> None:
    house.hear(order(patient=OTHER, placer="X", filler="Y"), order(control_id="C2", reason="Own"))
    house.receive()
    house.draft()
    assert house.writer.indications == ["Own"]


def test_the_very_study_of_another_patient_is_held_whatever_its_accession_number_says(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = add_study(session, accession_number="A", patient_id="P")
        add_order(session, study_instance_uid=study.study_instance_uid, patient_identifiers='[["Q"]]')
        add_order(session, accession_number="A", patient_identifiers='[["P"]]')
        with pytest.raises(OrderConflict, match=HELD):
            order_of(session, study)


def test_an_accession_number_of_another_patient_is_held_whatever_the_study_says(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = add_study(session, accession_number="A", patient_id="P")
        add_order(session, study_instance_uid=study.study_instance_uid, patient_identifiers='[["P"]]')
        add_order(session, accession_number="A", patient_identifiers='[["Q"]]')
        with pytest.raises(OrderConflict):
            order_of(session, study)


def test_an_order_that_names_another_study_that_is_here_is_that_one_s(sessions: Sessions) -> None:
    """Ribs and chest under one accession number."""
    with sessions.begin() as session:
        ribs, chest = (add_study(session, accession_number="A", patient_id="P") for _ in range(2))
        named = {"accession_number": "A", "patient_identifiers": '[["P"]]'}
        add_order(session, placer_order_number="CHEST", **named)
        add_order(session, placer_order_number="RIBS", study_instance_uid=ribs.study_instance_uid, **named)
        found = [order_of(session, study) for study in (ribs, chest)]
        assert [order and order.placer_order_number for order in found] == ["RIBS", "CHEST"]
        add_order(session, placer_order_number="MADE BY THE RIS", study_instance_uid="1.9", **named)
        found = [order_of(session, chest)]
        assert [order and order.placer_order_number for order in found] == ["MADE BY THE RIS"]


def test_without_an_accession_number_only_the_study_counts(sessions: Sessions) -> None:
    with sessions.begin() as session:
        study = add_study(session, accession_number="", patient_id="P")
        add_order(session, accession_number="", study_instance_uid="1.9", patient_identifiers='[["P"]]')
        assert order_of(session, study) is None


def add_order(session: Session, **columns: Any) -> None:
    told = InboundMessage(
        sending_application="", sending_facility="", control_id="", message_type="", raw=b"", is_used=True, reason="",
        sha256=str(hash(str(columns))), received_at=NOON,
    )  # fmt: skip
    session.add(told)
    session.flush()
    session.add(Order(message_id=told.id, updated_at=NOON, created_at=NOON, **columns))
    session.flush()


def test_a_site_says_where_its_messages_keep_what(house: House) -> None:
    paths = {"accession_number": ["ZOR-1"], "reason_for_study": ["ZOR-2.1", "NTE-3"], "study_instance_uid": ["ZDS-1"]}
    site = Settings(data_dir=house.settings.data_dir, hl7_paths=paths)
    raw = order() + b"ZOR|OWN^X|Dyspnoea^ignored~Cough\r"
    replace(house.intake, settings=site).take([raw])
    row = only(house.sessions, Order)
    assert (row.accession_number, row.reason_for_study) == ("OWN", "Dyspnoea, Cough")


def test_order_images_late_image_final_report_and_merge_tell_one_story(house: House) -> None:
    house.hear(order(study=STUDY_UID, priority="A"))
    house.receive()
    house.draft()
    assert house.tell() == ["delivered", "pending"]
    house.hear(final())
    house.receive(SOPInstanceUID="1.2.3")
    assert house.draft().state == "skipped"
    house.hear(final(status="C", control_id="R2"), merge(prior=PATIENT_ID, surviving="CANARY-NEW"))
    assert house.tell() == ["delivered", "cancelled"]
    assert len(house.pacs.sent) == 1
    story = house.story()
    assert CANARY not in str(story)
    told = [re.sub(r" \d+:", "", line) for line in story]
    expected = [
        "job inferring → reported (draft stored)",
        "delivery sending → delivered (stored)",
        f"study complete ({CLOSED})",
        f"delivery pending → cancelled ({CLOSED})",
        f"job reported → done ({CLOSED})",
        f"job inferring → skipped ({CLOSED})",
        f"study complete ({CLOSED})",
    ]
    assert [line for line in told if line in expected] == expected
