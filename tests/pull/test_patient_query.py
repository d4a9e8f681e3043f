"""Whose study it is by now: archives are asked before anything is sent there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from archives import ACCESSION, Archive, dcmqrscp, orthanc, uid
from doubles import FakeDestination
from films import dx_bytes
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from waiting import LONG_S, free_port

from dicom_node.peers import DicomDestination
from dicom_node.pull.association import STUDY_ROOT_FIND
from integration.destinations import NOT_SENT, Ack, Outcome
from integration.patient_query import AskingFirst

OURS = {"StudyInstanceUID": uid("today"), "AccessionNumber": ACCESSION}
SENT, LATER, HELD = Outcome.DELIVERED, Outcome.RETRY, Outcome.REJECTED
OTHER_PATIENT = "has this study under another patient"
OTHER_NUMBER = "has this study under another accession number"


@pytest.fixture(scope="module", params=[orthanc, dcmqrscp], ids=["orthanc", "dcmqrscp"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with request.param(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


def send(port: int, ae_title: str = "PACS", **elements: Any) -> tuple[Ack, bool]:
    """The answer of a destination that asks first, and whether the object went out."""
    sender = FakeDestination()
    to = DicomDestination(name="pacs", ae_title=ae_title, host="127.0.0.1", port=port, timeout_s=LONG_S)
    asking = AskingFirst(sender, to, "CXRNODE")
    assert (asking.name, asking.kind, asking.timeout_s) == ("pacs", sender.kind, 2 * sender.timeout_s)
    ack = asking.send(dx_bytes(**{**OURS, **elements}))
    assert "CANARY" not in ack.reason
    assert (ack.code == NOT_SENT) == (sender.sent == [])
    return ack, sender.sent != []


@pytest.mark.parametrize(
    ("elements", "outcome", "words"),
    [
        ({}, SENT, ""),
        ({"PatientID": " CANARY-ID "}, SENT, ""),
        ({"AccessionNumber": ""}, SENT, ""),
        ({"StudyInstanceUID": uid("yesterday")}, SENT, ""),  # of which the archive has no accession number
        ({"PatientID": "CANARY-OTHER"}, HELD, OTHER_PATIENT),
        ({"PatientID": ""}, HELD, OTHER_PATIENT),
        ({"AccessionNumber": "CANARY-ACC-2"}, HELD, OTHER_NUMBER),
        ({"StudyInstanceUID": "1.2.3.4"}, LATER, "does not have the study"),
    ],
)
def test_an_archive_gets_only_what_fits_its_study(
    elements: dict[str, str], outcome: Outcome, words: str, archive: Archive
) -> None:
    ack, is_sent = send(archive.port, archive.ae_title, **elements)
    assert (ack.outcome, is_sent) == (outcome, outcome is SENT)
    assert words in ack.reason


Answers = list[tuple[int, dict[str, str]]]


@contextmanager
def answering(answers: Answers, service: str = STUDY_ROOT_FIND) -> Iterator[int]:
    """An archive that says what a test wants."""

    def on_find(_: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for status, values in answers:
            found = Dataset()
            for keyword, value in values.items():
                setattr(found, keyword, value)
            yield status, found if values else None

    ae = AE("PACS")
    ae.add_supported_context(service)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def study(**changes: str) -> tuple[int, dict[str, str]]:
    return 0xFF00, {**OURS, "PatientID": "CANARY-ID", **changes}


@pytest.mark.parametrize(
    ("answers", "outcome", "words"),
    [
        ([study()], SENT, ""),
        ([study(PatientID="")], SENT, ""),
        ([study(IssuerOfPatientID="hosp")], SENT, ""),
        ([study(IssuerOfPatientID="CLINIC")], HELD, OTHER_PATIENT),
        ([study(), study(PatientID="CANARY-OTHER")], HELD, OTHER_PATIENT),
        ([study(StudyInstanceUID="1.2.3", PatientID="CANARY-OTHER")], LATER, "does not have the study"),
        ([], LATER, "does not have the study"),
        ([(0xA700, {})], LATER, "answered the query with status A700"),
        ([study(), (0xC001, {})], LATER, "answered the query with status C001"),
    ],
)
def test_what_an_archive_says_decides(answers: Answers, outcome: Outcome, words: str) -> None:
    with answering(answers) as port:
        ack, is_sent = send(port, IssuerOfPatientID="HOSP")
    assert (ack.outcome, is_sent) == (outcome, outcome is SENT)
    assert words in ack.reason


def test_an_archive_that_offers_no_query_is_shown_to_a_person() -> None:
    with answering([], service="1.2.840.10008.1.1") as port:
        ack, is_sent = send(port)
    assert (ack.outcome, is_sent) == (HELD, False)
    assert ack.reason == "PACS cannot be asked whose study it is: it offers no C-FIND."


def test_an_archive_that_cannot_be_reached_is_asked_later() -> None:
    ack, is_sent = send(free_port())
    assert (ack.outcome, is_sent) == (LATER, False)
    assert ack.reason.startswith("PACS cannot be reached")
