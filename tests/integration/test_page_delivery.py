"""What is made for eyes, on its way from the rows to a PACS."""

import json
import urllib.request
from pathlib import Path

from delivery_peers import orthanc
from page_samples import EYES, PACS, TWO_MAPS, draft
from rows import add_delivery, add_job, add_report, receive
from sqlmodel import select
from waiting import LONG_S

from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.models import Study
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from dicom_node.storage import InstanceStore
from integration.build import build_destinations
from integration.destinations import Outcome
from integration.document import load_document
from integration.objects import encoder
from integration.pdf_report import encode_pdf
from integration.store_scu import StoreScu


def test_a_pacs_gets_them_only_where_the_settings_name_them() -> None:
    default, all_of_them = (
        build_destinations(Settings(pacs=(PACS.model_copy(update=more),)))
        for more in ({}, {"objects": ("sr", "pdf", "page", "gsps")})
    )
    assert [each.kind for each in default] == [DeliveryKind.SR]
    assert [each.kind for each in all_of_them] == [DeliveryKind.SR, *EYES]


def test_film_and_maps_come_from_the_rows(sessions: Sessions, settings: Settings) -> None:
    store = InstanceStore(settings.instances_dir)
    with sessions.begin() as session:
        film = receive(session, store)
        job = add_job(session, session.exec(select(Study)).one(), state="reported")
        report = add_report(session, job, film, attention=TWO_MAPS)
        report.findings = "The heart is normal. No effusion."
        delivery = add_delivery(session, report, kind=DeliveryKind.PDF)

        document = load_document(session, store, settings, delivery)

    assert document.attention == TWO_MAPS
    assert document.image.is_file()
    assert encode_pdf(document, PACS).payload


def test_orthanc_stores_each_kind_in_a_series_of_its_own(tmp_path: Path) -> None:
    document = draft(tmp_path)
    with orthanc(tmp_path / "orthanc") as (dicom, http):
        to = DicomDestination(name="pacs", ae_title="TESTPACS", host="127.0.0.1", port=dicom, timeout_s=LONG_S)
        acks = [StoreScu(to, "CXRNODE", kind).send(encoder(kind)(document, PACS).payload) for kind in EYES]
        series = _series(http)

    assert [ack.outcome for ack in acks] == [Outcome.DELIVERED] * 3
    assert sorted(series) == [("9903", "DOC"), ("9904", "OT"), ("9905", "PR")]


def _series(http: int) -> list[tuple[str, str]]:
    query = json.dumps({"Level": "Series", "Query": {}, "Expand": True}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{http}/tools/find", query)
    with urllib.request.urlopen(request, timeout=LONG_S) as response:
        tags = [each["MainDicomTags"] for each in json.load(response)]
    return [(each["SeriesNumber"], each["Modality"]) for each in tags]
