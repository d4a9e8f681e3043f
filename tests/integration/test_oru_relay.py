"""From the rows to a RIS, as each RIS wants it."""

from collections.abc import Iterator
from pathlib import Path

import hl7
import pytest
from doubles import NOON, FrozenClock
from rows import add_delivery, add_job, add_report, all_of, only, receive
from sqlmodel import select

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Delivery, Job, Report, Study
from dicom_node.peers import MllpDestination
from dicom_node.states import DeliveryKind
from dicom_node.storage import InstanceStore
from integration.mllp import MllpSender
from integration.relay import Teller, deliver_due
from integration.simulators.inbox import read_receipts
from integration.simulators.ris import LoopbackRis, acknowledge

OLD = {"version": "2.3.1", "text_type": "FT", "character_set": "8859/1", "acknowledgement": "application"}


@pytest.fixture
def teller(sessions: Sessions, settings: Settings) -> Teller:
    return Teller(sessions, InstanceStore(settings.instances_dir), settings, FrozenClock())


@pytest.fixture
def ris(tmp_path: Path) -> Iterator[LoopbackRis]:
    with LoopbackRis(tmp_path / "ris") as ris:
        yield ris


def draft(teller: Teller, findings: str) -> None:
    with teller.sessions.begin() as session:
        instance = receive(session, teller.store)
        job = add_job(session, session.exec(select(Study)).one(), state="reported")
        report = add_report(session, job, instance)
        report.findings = findings
        add_delivery(session, report, destination="ris", kind=DeliveryKind.ORU)


def sender(ris: LoopbackRis, kind: DeliveryKind = DeliveryKind.ORU, **profile: str) -> MllpSender:
    return MllpSender(MllpDestination(name="ris", host="127.0.0.1", port=ris.port, **profile), kind)


def heard(ris: LoopbackRis, teller: Teller) -> bytes:
    return ris.inbox.path(only(teller.sessions, Delivery).identifier).read_bytes()


def test_an_old_ris_gets_its_version_in_its_set_and_has_the_last_word(ris: LoopbackRis, teller: Teller) -> None:
    draft(teller, "Größe normal.\nKein Erguss.")
    ris.reply = lambda message: acknowledge(message, code="CA") + acknowledge(message, code="AA")

    assert deliver_due(teller, sender(ris, **OLD))

    delivery = only(teller.sessions, Delivery)
    assert (delivery.state, delivery.ack_code, only(teller.sessions, Job).state) == ("delivered", "AA", "done")
    message = hl7.parse(heard(ris, teller).decode("latin-1"))
    assert str(message.segment("MSH")(12)) == "2.3.1"
    assert "Größe normal.\\.br\\Kein Erguss." in str(message)


def test_a_draft_that_the_set_does_not_hold_fails_in_words_and_stays(
    ris: LoopbackRis, teller: Teller, tmp_path: Path
) -> None:
    draft(teller, "Größe normal.")

    assert deliver_due(teller, sender(ris, character_set="ASCII"))

    delivery = only(teller.sessions, Delivery)
    assert (delivery.state, delivery.payload) == ("failed", None)
    assert delivery.reason == "ORU: OBX has a character that ASCII (MSH-18) does not hold, expected none"
    assert only(teller.sessions, Report).findings == "Größe normal."
    assert read_receipts(tmp_path / "ris") == []


def test_a_withdrawn_draft_is_taken_back_and_its_findings_are_not_repeated(ris: LoopbackRis, teller: Teller) -> None:
    draft(teller, "Small effusion.")
    assert deliver_due(teller, sender(ris))
    assert b"effusion" in heard(ris, teller)
    with teller.sessions.begin() as session:
        report = session.exec(select(Report)).one()
        report.withdrawn_at = NOON
        add_delivery(session, report, destination="ris", kind=DeliveryKind.CANCELLATION)

    assert deliver_due(teller, sender(ris, DeliveryKind.CANCELLATION, cancellations=True))

    cancellation = all_of(teller.sessions, Delivery)[1]
    assert cancellation.state == "delivered"
    message = ris.inbox.path(cancellation.identifier).read_bytes()
    assert b"WITHDRAWN" in message
    assert b"effusion" not in message
