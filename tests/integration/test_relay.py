"""What is due is sent, judged and told to the job."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from doubles import DELIVERED, NOON, REJECTED, RETRY, FakeDestination, FrozenClock
from rows import add_delivery, add_job, add_report, all_of, only, receive
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select
from waiting import LONG_S, in_threads

from dicom_node import rounds
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.errors import InvalidOutput, PeerUnreachable
from dicom_node.flags import Flag, FlagKind, flags_to_json
from dicom_node.lifecycle import put_back
from dicom_node.models import Delivery, Instance, Job, Report, Study
from dicom_node.operator import retry
from dicom_node.states import DeliveryKind
from dicom_node.storage import InstanceStore
from integration.destinations import Encoded
from integration.document import ReportDocument, load_document
from integration.relay import Teller, deliver_due, refuse_unknown

RIS = {"destination": "ris", "kind": DeliveryKind.ORU}


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def teller(sessions: Sessions, settings: Settings, clock: FrozenClock) -> Teller:
    patient = settings.model_copy(update={"max_delivery_attempts": 3})
    return Teller(sessions, InstanceStore(settings.instances_dir), patient, clock)


def report(teller: Teller, *others: dict[str, object], draft: dict[str, object] | None = None) -> None:
    """A reported film with a delivery to the PACS, and others."""
    with teller.sessions.begin() as session:
        instance = receive(session, teller.store)
        job = add_job(session, session.exec(select(Study)).one(), state="reported")
        made = add_report(session, job, instance, **(draft or {}))
        for columns in ({}, *others):
            add_delivery(session, made, **columns)


def test_when_nothing_is_due_nothing_is_sent(teller: Teller) -> None:
    pacs = FakeDestination()
    assert not deliver_due(teller, pacs)
    assert pacs.sent == []


def test_a_positive_answer_ends_the_delivery_and_the_job(teller: Teller) -> None:
    report(teller)
    pacs = FakeDestination()
    assert deliver_due(teller, pacs)
    delivery = only(teller.sessions, Delivery)
    assert (delivery.state, delivery.attempts, delivery.lease_until) == ("delivered", 1, None)
    assert (delivery.ack_code, delivery.reason) == ("0000", "stored")
    assert (delivery.payload, delivery.identifier) == (b"payload 1", "1.2.1")
    assert only(teller.sessions, Job).state == "done"
    assert not deliver_due(teller, pacs)


def test_the_document_is_of_this_study_and_this_draft(teller: Teller) -> None:
    report(teller)
    pacs = FakeDestination()
    deliver_due(teller, pacs)
    (document,) = pacs.documents
    instance = only(teller.sessions, Instance)
    assert document.evidence.SOPInstanceUID == instance.sop_instance_uid
    assert "PixelData" not in document.evidence
    assert (document.findings, document.revision, document.drafted_at) == ("The lungs are clear.", 1, NOON)
    assert (document.model.name, document.model.digest) == ("fake", "d" * 64)
    assert (document.flags, document.model.is_synthetic) == ((), False)
    assert document.disclaimer == teller.settings.disclaimer


@pytest.mark.parametrize("kind", [DeliveryKind.SR, DeliveryKind.ORU])
def test_the_document_knows_whether_some_pacs_gets_an_sr(kind: DeliveryKind, teller: Teller) -> None:
    report(teller)
    with teller.sessions.begin() as session:
        session.exec(select(Delivery)).one().kind = kind
    with teller.sessions() as session:
        document = load_document(session, teller.store, teller.settings, session.exec(select(Delivery)).one())
    assert document.has_sr is (kind == DeliveryKind.SR)


def test_the_document_has_the_flags_of_its_draft_and_knows_a_synthetic_model(teller: Teller) -> None:
    flags = (Flag(FlagKind.TRUNCATED, "Cut short."), Flag(FlagKind.MEASUREMENT, 'States a size: "3 cm".', ((0, 4),)))
    report(teller, draft={"flags": flags_to_json(flags), "model_is_synthetic": True})
    pacs = FakeDestination()
    deliver_due(teller, pacs)
    (document,) = pacs.documents
    assert document.flags == ("Cut short.", 'States a size: "3 cm".')
    assert document.opening.startswith("SYNTHETIC TEST MODEL")


def test_a_report_is_encoded_once_and_sent_as_the_same_bytes_each_time(teller: Teller, clock: FrozenClock) -> None:
    report(teller)
    pacs = FakeDestination(acks=(RETRY, RETRY, DELIVERED))
    for _ in range(3):
        assert deliver_due(teller, pacs)
        clock.forward(3600)
    assert pacs.sent == [b"payload 1"] * 3
    assert len(pacs.documents) == 1


def test_the_bytes_are_stored_before_they_are_sent(teller: Teller) -> None:
    report(teller)
    stored: list[tuple[bytes, str]] = []

    def look() -> None:
        stored.append((only(teller.sessions, Delivery).payload, only(teller.sessions, Delivery).state))

    deliver_due(teller, FakeDestination(before=look))
    assert stored == [(b"payload 1", "sending")]


def test_a_retry_waits_longer_each_time_and_gives_up_in_the_end(teller: Teller, clock: FrozenClock) -> None:
    report(teller)
    pacs = FakeDestination(acks=(RETRY,))
    waits = []
    for _ in range(2):
        deliver_due(teller, pacs)
        delivery = only(teller.sessions, Delivery)
        assert delivery.state == "pending"
        assert not deliver_due(teller, pacs)
        waits.append(delivery.due_at - clock.now)
        clock.now = delivery.due_at
    deliver_due(teller, pacs)
    assert waits == [timedelta(seconds=10), timedelta(seconds=20)]
    delivery, job = only(teller.sessions, Delivery), only(teller.sessions, Job)
    assert (delivery.state, delivery.reason) == ("failed", "the peer is full; gave up after 3 attempts")
    assert (job.state, job.reason) == (
        "failed",
        "delivery to pacs failed: the peer is full; gave up after 3 attempts",
    )


def test_a_refusal_fails_the_delivery_and_the_job_at_once(teller: Teller) -> None:
    report(teller)
    deliver_due(teller, FakeDestination(acks=(REJECTED,)))
    delivery, job = only(teller.sessions, Delivery), only(teller.sessions, Job)
    assert (delivery.state, delivery.ack_code, delivery.attempts) == ("failed", "A900", 1)
    assert (job.state, job.reason) == ("failed", "delivery to pacs failed: the peer refused it")


def test_a_report_that_fails_its_gate_is_never_sent(teller: Teller) -> None:
    report(teller)
    pacs = FakeDestination(encode_error=InvalidOutput("the SR has no findings"))
    assert deliver_due(teller, pacs)
    assert pacs.sent == []
    delivery = only(teller.sessions, Delivery)
    assert (delivery.state, delivery.reason, delivery.payload) == ("failed", "the SR has no findings", None)
    assert only(teller.sessions, Job).state == "failed"


@pytest.mark.parametrize("how", ["encode_error", "send_error"])
def test_an_unknown_exception_fails_with_its_kind_and_no_value(
    how: str, teller: Teller, caplog: pytest.LogCaptureFixture
) -> None:
    report(teller)
    deliver_due(teller, FakeDestination(**{how: KeyError("CANARY^PHI")}))
    assert only(teller.sessions, Delivery).reason == "unexpected KeyError: see the log"
    assert "KeyError at integration/relay.py" in caplog.text


def test_a_transient_exception_is_a_retry(teller: Teller) -> None:
    report(teller)
    deliver_due(teller, FakeDestination(send_error=PeerUnreachable("no connection")))
    assert only(teller.sessions, Delivery).state == "pending"


def test_a_film_whose_file_is_gone_fails_for_a_person(teller: Teller) -> None:
    report(teller)
    teller.store.open(only(teller.sessions, Instance).path).unlink()
    deliver_due(teller, FakeDestination())
    assert only(teller.sessions, Delivery).reason == "the image's file is gone"


def test_a_film_whose_file_cannot_be_read_fails_for_a_person(teller: Teller) -> None:
    report(teller)
    teller.store.open(only(teller.sessions, Instance).path).write_bytes(b"not DICOM any more")
    deliver_due(teller, FakeDestination())
    assert only(teller.sessions, Delivery).reason.endswith(": its file cannot be read")


def test_a_second_patient_that_came_late_stops_what_was_not_sent(teller: Teller) -> None:
    report(teller)
    pacs = FakeDestination(acks=[RETRY, DELIVERED])
    deliver_due(teller, pacs)
    with teller.sessions.begin() as session:
        drafted = session.exec(select(Instance)).one()
        values = drafted.model_dump(exclude={"id"}) | {"sop_instance_uid": "1.2.9"}
        session.add(Instance(**values | {"patient_key": "another"}))
        session.exec(select(Delivery)).one().due_at = NOON
    deliver_due(teller, pacs)
    delivery = only(teller.sessions, Delivery)
    assert (len(pacs.sent), delivery.state) == (1, "failed")
    assert "different patients" in delivery.reason


def test_what_is_withdrawn_while_it_is_encoded_is_not_sent(teller: Teller) -> None:
    report(teller)

    class Slow(FakeDestination):
        def encode(self, document: ReportDocument) -> Encoded:
            with teller.sessions.begin() as session:
                session.exec(select(Report)).one().withdrawn_at = NOON
            return super().encode(document)

    pacs = Slow()
    deliver_due(teller, pacs)
    assert pacs.sent == []
    assert only(teller.sessions, Delivery).state == "cancelled"


def test_a_delivery_to_a_destination_that_is_gone_from_the_settings_fails(teller: Teller) -> None:
    report(teller)
    known = FakeDestination(name="other")
    assert refuse_unknown(teller, (known,))
    assert only(teller.sessions, Delivery).reason == "pacs is not in the settings"
    assert only(teller.sessions, Job).state == "failed"
    assert not refuse_unknown(teller, (known,))


def test_a_delivery_to_a_known_destination_is_left_to_its_thread(teller: Teller) -> None:
    report(teller)
    assert not refuse_unknown(teller, (FakeDestination(),))
    assert only(teller.sessions, Delivery).state == "pending"


def test_what_is_sent_elsewhere_or_of_another_study_holds_up_nothing(teller: Teller) -> None:
    report(teller, {"destination": "other", "state": "sending"})
    with teller.sessions.begin() as session:
        add_delivery(session, state="sending")
    assert deliver_due(teller, FakeDestination())


def test_a_destination_takes_its_own_deliveries_only(teller: Teller) -> None:
    report(teller, RIS, {"kind": DeliveryKind.ORU})
    pacs = FakeDestination()
    assert deliver_due(teller, pacs)
    assert not deliver_due(teller, pacs)
    assert [each.state for each in all_of(teller.sessions, Delivery)] == ["delivered", "pending", "pending"]


def test_the_job_is_done_with_its_last_delivery(teller: Teller) -> None:
    report(teller, RIS)
    deliver_due(teller, FakeDestination())
    assert only(teller.sessions, Job).state == "reported"
    deliver_due(teller, FakeDestination("ris", DeliveryKind.ORU))
    assert only(teller.sessions, Job).state == "done"


def test_two_last_deliveries_that_end_at_once_end_the_job(teller: Teller) -> None:
    for _ in range(10):
        with teller.sessions.begin() as session:
            made = add_report(session, add_job(session, state="reported"))
            add_delivery(session, made, payload=b"SR")
            add_delivery(session, made, payload=b"ORU", **RIS)
        ways = [FakeDestination(), FakeDestination("ris", DeliveryKind.ORU)]
        in_threads(lambda w=ways: deliver_due(teller, w.pop()), 2)
    assert {job.state for job in all_of(teller.sessions, Job)} == {"done"}


def test_a_failed_delivery_fails_the_job_and_the_others_go_on(teller: Teller) -> None:
    report(teller, RIS)
    deliver_due(teller, FakeDestination(acks=(REJECTED,)))
    deliver_due(teller, FakeDestination("ris", DeliveryKind.ORU))
    assert [each.state for each in all_of(teller.sessions, Delivery)] == ["failed", "delivered"]
    assert only(teller.sessions, Job).state == "failed"


def test_what_an_operator_resends_is_the_same_bytes_and_ends_the_job(teller: Teller) -> None:
    report(teller)
    pacs = FakeDestination(acks=(REJECTED, DELIVERED))
    deliver_due(teller, pacs)
    with teller.sessions.begin() as session:
        retry(session, session.exec(select(Study)).one().id or 0, NOON)
    deliver_due(teller, pacs)
    assert pacs.sent == [b"payload 1", b"payload 1"]
    assert only(teller.sessions, Job).state == "done"


@pytest.mark.parametrize("ack", [DELIVERED, RETRY, REJECTED])
def test_whoever_lost_the_lease_changes_nothing(ack: object, teller: Teller) -> None:
    report(teller)

    def lose_the_lease() -> None:
        with teller.sessions.begin() as session:
            delivery = session.exec(select(Delivery)).one()
            put_back(session, delivery, now=NOON, due_at=NOON, max_attempts=9, reason="the process died")

    deliver_due(teller, FakeDestination(acks=(ack,), before=lose_the_lease))  # type: ignore[arg-type]
    delivery = only(teller.sessions, Delivery)
    assert (delivery.state, delivery.reason[:16]) == ("pending", "the process died")
    assert only(teller.sessions, Job).state == "reported"


def test_a_relay_that_lost_its_lease_while_encoding_does_not_replace_the_bytes_of_the_next(teller: Teller) -> None:
    report(teller)
    second = FakeDestination()
    second.documents.append(None)  # type: ignore[arg-type]  # its encoding is "payload 2"

    class Slow(FakeDestination):
        def encode(self, document):  # type: ignore[no-untyped-def]
            with teller.sessions.begin() as session:
                delivery = session.exec(select(Delivery)).one()
                put_back(session, delivery, now=NOON, due_at=NOON, max_attempts=9, reason="the process died")
            second.acks = (RETRY,)
            deliver_due(teller, second)
            return super().encode(document)

    first = Slow()
    deliver_due(teller, first)
    assert second.sent == [b"payload 2"]
    assert only(teller.sessions, Delivery).payload == b"payload 2"
    assert first.sent in ([], [b"payload 2"])


class Naming(FakeDestination):
    """Encodes the same object as the others, and not as the same bytes: something has come between."""

    def encode(self, document: ReportDocument) -> Encoded:
        return Encoded(self.name.encode(), "1.2.1")


def test_an_object_is_the_same_bytes_at_every_pacs(teller: Teller) -> None:
    report(teller, {"destination": "second"})
    first, second = Naming("pacs"), Naming("second")
    for each in (first, second):
        assert deliver_due(teller, each)
    assert first.sent == second.sent == [b"pacs"]


def test_two_relays_that_encode_the_same_object_at_once_send_the_same_bytes(teller: Teller) -> None:
    report(teller, {"destination": "second"})
    both = threading.Barrier(2)

    class Meeting(Naming):
        def encode(self, document: ReportDocument) -> Encoded:
            both.wait(LONG_S)
            return super().encode(document)

    first, second = Meeting("pacs"), Meeting("second")
    waiting = [first, second]
    in_threads(lambda: deliver_due(teller, waiting.pop()), 2)
    assert first.sent == second.sent
    assert len(first.sent) == 1


@pytest.mark.parametrize("moment", ["payload", "settle"])
def test_a_database_that_was_away_is_no_reason_to_fail_a_delivery(
    moment: str, teller: Teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(teller)
    sessions = Sessions(teller.sessions.kw["bind"])
    left = [OperationalError("UPDATE delivery", {"payload": "CANARY"}, Exception("CANARY"))]
    pacs = FakeDestination()

    def fail(_: Session) -> None:
        if left and (pacs.documents if moment == "payload" else pacs.sent):
            raise left.pop()

    event.listen(sessions, "before_commit", fail)
    monkeypatch.setattr(rounds, "_WAIT_FOR_DATABASE_S", 0.01)
    deliver_due(replace(teller, sessions=sessions), pacs)
    assert left == []
    # An answer that has come is written down when the database is back; before it, the bytes go out later.
    expected = {"payload": ("pending", "reported"), "settle": ("delivered", "done")}[moment]
    assert (only(teller.sessions, Delivery).state, only(teller.sessions, Job).state) == expected
