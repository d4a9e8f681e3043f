"""Final reports and patient updates of the RIS, and what they do to pending work."""

from time import process_time

import pytest
from doubles import NOON, RETRY
from hl7_messages import ACCESSION, PATIENT_ID, final, merge, order, update
from rows import all_of, only
from sqlmodel import select
from test_orders import OTHER, STUDY_UID, House

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.lifecycle import advance
from dicom_node.models import Delivery, FinalReport, Job, PatientMerge
from dicom_node.peers import Hl7Paths
from dicom_node.states import CLOSED, JobState
from dicom_node.timeline import list_statuses
from integration.er7 import Message
from integration.report_message import read_finals

AS_THE_IMAGE = "the report names it as the image does"


@pytest.fixture
def house(sessions: Sessions, settings: Settings) -> House:
    return House(sessions, settings)


def test_a_final_report_is_kept_for_comparison(house: House) -> None:
    house.hear(order(study=STUDY_UID), final(accession="", placer="PLC1^RIS"))
    row = only(house.sessions, FinalReport)
    assert (row.status, row.accession_number, row.study_instance_uid) == ("F", ACCESSION, STUDY_UID)
    assert row.findings == "Small effusion.\n\nNo pneumothorax."
    assert row.impression == "Effusion.\nNothing else."
    assert row.text == f"{row.findings}\n{row.impression}"


@pytest.mark.parametrize("status", ["D", "W"])
def test_what_a_corrected_report_takes_back_is_not_in_its_text(status: str, house: House) -> None:
    corrected = final(status="C", findings="Of another patient.").replace(
        b"patient.||||||F", b"patient.||||||%b" % status.encode()
    )
    house.hear(corrected)
    row = only(house.sessions, FinalReport)
    assert (row.status, row.findings, row.text) == ("C", "", row.impression)


def test_what_stands_beside_the_rows_of_a_report_is_not_its_text(house: House) -> None:
    house.hear(final().replace(b"OBX|2|FT", b"NTE|1|L|||CANARY\rOBX|2|FT"))
    row = only(house.sessions, FinalReport)
    assert row.text == f"{row.findings}\n{row.impression}"


def test_a_line_break_of_a_word_processor_is_one(house: House) -> None:
    house.hear(final(findings="Small effusion.\vNo pneumothorax."))
    assert only(house.sessions, FinalReport).findings == "Small effusion.\nNo pneumothorax."


def test_a_final_report_of_many_rows_holds_up_nobody() -> None:
    rows = [f"OBX|{at}|ST|113014^DICOM Study^DCM||1.2.{at}" for at in range(20_000)]
    report = Message.of("\r".join([final().decode(), *rows]))
    started = process_time()
    assert len(read_finals(report, Hl7Paths()).facts) == 1
    assert process_time() - started < 5  # seconds: 15 and more where each row is compared with each


def test_what_a_final_report_says_itself_comes_before_what_its_order_says(house: House) -> None:
    house.hear(order(), final(accession="ITS-OWN", placer="PLC1^RIS"))
    assert only(house.sessions, FinalReport).accession_number == "ITS-OWN"


def test_a_final_report_before_the_draft_stops_it(house: House) -> None:
    house.hear(final())
    house.receive()
    job = house.draft()
    assert (job.state, job.reason) == ("skipped", CLOSED)
    assert house.writer.images == []


def test_a_final_report_of_another_patient_closes_nothing(house: House) -> None:
    house.hear(final(patient=OTHER))
    house.receive()
    assert house.draft().state == "reported"


def test_a_final_report_of_another_patient_is_told_where_it_was_meant_to_be(house: House) -> None:
    house.receive()
    house.draft()
    house.hear(final(patient=OTHER))
    words = "a final report of the RIS is of this study or accession number, but of another patient: it closes nothing"
    assert house.story()[-1].endswith(f": complete ({words})")
    assert house.tell() == ["delivered", "pending"]


def test_each_report_of_a_message_is_of_the_patient_before_it(house: House) -> None:
    """HL7 2.5.1 7.3.1: PATIENT_RESULT repeats."""
    (_, *first), (header, *second) = (
        each.decode().split("\r") for each in (final(patient=OTHER, accession="A"), final())
    )
    house.receive()
    house.draft()
    house.hear("\r".join([header, *first[:-1], *second]).encode())
    assert [(each.accession_number, each.patient_identifiers) for each in all_of(house.sessions, FinalReport)] == [
        ("A", '[["CANARY-OTHER", "hosp"]]'),
        (ACCESSION, '[["CANARY-ID", "hosp"]]'),
    ]
    assert [each.state for each in all_of(house.sessions, Delivery)] == ["cancelled", "cancelled"]


def test_a_final_report_of_another_study_closes_that_one_alone(house: House) -> None:
    """Two procedures under one accession number."""
    house.receive()
    house.draft()
    house.receive(StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.78", SOPInstanceUID="1.2.79")
    house.hear(order(study="1.2.77"), final())
    assert only(house.sessions, FinalReport).study_instance_uid == "1.2.77"
    assert [each.state for each in all_of(house.sessions, Delivery)] == ["pending", "pending"]


def test_a_final_report_is_not_of_the_study_of_another_patients_order(house: House) -> None:
    """Two sites that count alike."""
    house.receive()
    house.draft()
    house.receive(
        PatientID="CANARY-OTHER", StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.78", SOPInstanceUID="1.2.79"
    )
    house.draft()
    house.hear(order(study=STUDY_UID), order(study="1.2.77", patient=OTHER, placer="X", filler="Y", control_id="C2"))
    house.hear(final())
    assert [each.state for each in all_of(house.sessions, Delivery)] == ["cancelled", "cancelled", "pending", "pending"]


def test_a_final_report_cancels_what_is_not_sent(house: House) -> None:
    house.receive()
    house.draft()
    assert house.tell() == ["delivered", "pending"]
    house.hear(final())
    assert [each.state for each in all_of(house.sessions, Delivery)] == ["delivered", "cancelled"]
    job = only(house.sessions, Job)
    assert (job.state, job.reason) == ("done", CLOSED)
    with house.sessions() as session:
        assert list_statuses(session)[0].why == CLOSED


def test_a_final_report_that_comes_while_drafting_or_sending_stops_what_follows(house: House) -> None:
    house.receive()
    house.writer.before = lambda: house.hear(final())
    house.draft()
    assert house.tell() == ["cancelled", "pending"]
    assert house.pacs.sent == []


def test_a_delivery_that_is_under_way_ends_as_its_peer_says(house: House) -> None:
    house.receive()
    house.draft()
    house.pacs.acks, house.pacs.before = (RETRY,), lambda: house.hear(final())
    assert house.tell() == ["pending", "cancelled"]
    house.clock.forward(3_600)
    assert house.tell() == ["cancelled", "cancelled"]
    assert (len(house.pacs.sent), only(house.sessions, Job).state) == (1, "done")


def test_a_merge_makes_two_identifiers_one_person(house: House) -> None:
    house.hear(order(patient="CANARY-NEW^^^HOSP^MR"))
    house.receive()
    assert house.is_held()
    house.hear(merge(prior="CANARY-MID^^^HOSP^MR", surviving="CANARY-NEW^^^HOSP^MR"))
    house.hear(merge(prior="CANARY-ID^^^HOSP^MR", surviving="CANARY-MID^^^HOSP^MR", control_id="M2"))
    house.try_again()
    assert house.draft().state == "reported"
    house.tell()
    assert str(house.pacs.documents[0].evidence.PatientID) == PATIENT_ID


@pytest.mark.parametrize("event", ["A18", "A34", "A40", "A47"])
def test_each_merging_event_is_a_row(event: str, house: House) -> None:
    house.hear(merge(prior="OLD^^^A", surviving="NEW^^^A&1.2&ISO", event=event))
    row = only(house.sessions, PatientMerge)
    assert (row.prior_id, row.surviving_id) == ("OLD", "NEW")
    assert row.identifiers == '[["OLD", "a"], ["NEW", "1.2", "a"]]'


@pytest.mark.parametrize("in_full", ["HOSP", "HOSP&1.2.3&ISO"])
def test_a_number_that_many_share_joins_nobody_by_merges(in_full: str, house: House) -> None:
    for one, other in (("CANARY-ID", "CANARY-NEW"), ("CANARY-A", "CANARY-B")):
        shared = "999999999^^^INSURANCE^SS"
        house.hear(merge(prior=f"{one}^^^HOSP^MR", surviving=f"{shared}~{other}^^^{in_full}^MR", control_id=one))
    house.hear(order(patient="CANARY-B^^^HOSP^MR"))
    house.receive()
    assert house.is_held()


def test_a_merge_of_another_authoritys_number_is_not_the_patients(house: House) -> None:
    house.hear(order(patient="CANARY-NEW^^^HOSP^MR"))
    house.hear(merge(prior="CANARY-ID^^^CLINIC^MR", surviving="CANARY-NEW^^^HOSP^MR"))
    house.receive(IssuerOfPatientID="HOSP")
    assert house.is_held()


@pytest.mark.parametrize(("patient", "is_held"), [("CANARY-ID^^^CLINIC^MR", True), ("CANARY-OLD^^^HOSP^MR", False)])
def test_a_merge_that_names_no_authority_does_not_join_two_sites_that_count_alike(
    patient: str, is_held: bool, house: House
) -> None:
    house.hear(merge(prior="CANARY-OLD", surviving=PATIENT_ID), order(patient=patient))
    house.receive(IssuerOfPatientID="HOSP")
    assert house.is_held() is is_held


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (update(), "ADT^A08: the patient's data has changed"),
        (update(event="A31"), "ADT^A31: the patient's data has changed"),
        (merge(prior=PATIENT_ID, surviving="CANARY-NEW"), "ADT^A40: the RIS merged its patient into another"),
        (merge(prior="CANARY-OLD", surviving=PATIENT_ID), "ADT^A40: the RIS merged another patient into its own"),
    ],
)
def test_what_adt_says_of_a_patient_is_in_the_timeline_of_pending_work(told: bytes, words: str, house: House) -> None:
    house.receive()
    house.draft()
    house.hear(told)
    assert house.story()[-1].endswith(f": complete ({words}; {AS_THE_IMAGE})")
    assert house.tell() == ["delivered", "pending"]


def test_what_adt_says_of_others_or_of_work_that_is_done_is_not_noted(house: House) -> None:
    house.receive()
    house.draft()
    before = len(house.story())
    house.hear(update(patient=OTHER), update(patient="CANARY-ID^^^CLINIC^MR", control_id="U2"))
    with house.sessions.begin() as session:
        job = session.exec(select(Job)).one()
        advance(session, job, JobState.DONE, now=NOON)
    house.hear(update(control_id="U3"))
    assert len(house.story()) == before + 1 + 1  # the job's end; the clinic's is compatible with an unnamed issuer


def test_a_merge_is_told_also_of_a_study_that_is_closed_and_once(house: House) -> None:
    house.receive()
    house.draft()
    house.hear(final())
    house.hear(merge(prior="CANARY-ID^^^HOSP^MR", surviving="CANARY-MID^^^HOSP^MR"))
    house.hear(merge(prior="CANARY-MID^^^HOSP^MR", surviving="CANARY-NEW^^^HOSP^MR", control_id="M2"))
    house.hear(merge(prior="CANARY-MID^^^HOSP^MR", surviving="CANARY-NEW^^^HOSP^MR", control_id="M3"))
    told = [each for each in house.story() if "merged" in each]
    words = f"the RIS merged its patient into another; {AS_THE_IMAGE})"
    assert [each.split(": ")[-1] for each in told] == [words] * 2
    assert "CANARY" not in str(told)
