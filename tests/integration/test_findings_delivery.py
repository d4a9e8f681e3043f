"""Coded findings on their way: from the labels of a draft to a PACS, or nowhere where there are none."""

import json
import urllib.request
from pathlib import Path

import pytest
from delivery_peers import orthanc, storescp
from doubles import FrozenClock
from pydicom import dcmread
from report_samples import LABELS, make_document
from rows import add_delivery, add_job, add_report, only, receive
from sqlmodel import select
from waiting import LONG_S

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.labels import labels_to_json
from dicom_node.models import Delivery, Job, Study
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from dicom_node.storage import InstanceStore
from integration.destinations import Outcome
from integration.relay import deliver_due
from integration.store_scu import StoreScu
from integration.teller import Teller


@pytest.fixture
def teller(sessions: Sessions, settings: Settings) -> Teller:
    return Teller(sessions, InstanceStore(settings.instances_dir), settings, FrozenClock())


def _report(teller: Teller, labels: str) -> None:
    """A reported film whose findings are due at the PACS."""
    with teller.sessions.begin() as session:
        instance = receive(session, teller.store)
        job = add_job(session, session.exec(select(Study)).one(), state="reported")
        add_delivery(session, add_report(session, job, instance, labels=labels), kind=DeliveryKind.FINDINGS)


def _pacs(port: int) -> StoreScu:
    destination = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, objects=("findings",))
    return StoreScu(destination, "CXRNODE", DeliveryKind.FINDINGS)


def test_the_labels_of_a_draft_reach_the_pacs_as_coded_findings(teller: Teller, tmp_path: Path) -> None:
    _report(teller, labels_to_json(LABELS))
    with storescp(tmp_path / "pacs") as port:
        assert deliver_due(teller, _pacs(port))
    delivery = only(teller.sessions, Delivery)
    (stored,) = (tmp_path / "pacs").iterdir()
    ds = dcmread(stored)
    assert (delivery.state, delivery.identifier) == ("delivered", ds.SOPInstanceUID)
    assert ds.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert only(teller.sessions, Job).state == "done"


@pytest.mark.parametrize("labels", ["", '{"labeller":{"name":"a","version":"1","digest":"d"},"labels":[]}'])
def test_a_draft_without_labels_is_no_fault_of_anybody(teller: Teller, labels: str) -> None:
    _report(teller, labels)
    assert deliver_due(teller, _pacs(port=9))
    delivery = only(teller.sessions, Delivery)
    assert (delivery.state, delivery.payload) == ("cancelled", None)
    assert delivery.reason == "there is nothing to code: no labeller has found a known finding in the draft"
    assert only(teller.sessions, Job).state == "done"


def test_orthanc_shows_report_and_findings_as_two_series_of_the_study(tmp_path: Path) -> None:
    document = make_document(labels=LABELS)
    with orthanc(tmp_path) as (dicom, http):
        pacs = DicomDestination(name="pacs", ae_title="TESTPACS", host="127.0.0.1", port=dicom, sr_class="enhanced")
        for kind in (DeliveryKind.SR, DeliveryKind.FINDINGS):
            scu = StoreScu(pacs, "CXRNODE", kind)
            assert scu.send(scu.encode(document).payload).outcome is Outcome.DELIVERED
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/series?expand", timeout=LONG_S) as response:
            series = [each["MainDicomTags"] for each in json.load(response)]
    assert {each["SeriesDescription"] for each in series} == {
        "AI DRAFT CXR report (not reviewed)",
        "AI DRAFT CXR findings (not reviewed)",
    }
    assert {each["Modality"] for each in series} == {"SR"}
