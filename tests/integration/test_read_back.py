"""All that a PACS is sent, in DCMTK's archive: found there, fetched both ways as the very bytes, and shown."""

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from delivery_peers import data_set_bytes, dcmqrscp, require
from page_samples import TWO_MAPS, draft
from pydicom import dcmread
from pydicom.dataset import Dataset
from report_samples import FLAGS, LABELS
from waiting import free_port

from dicom_node.models import Delivery
from dicom_node.peers import DicomDestination, SrClass
from dicom_node.states import DeliveryKind
from integration.destinations import Outcome
from integration.document import ReportDocument
from integration.history import read_sent
from integration.objects import ENCODERS
from integration.report_text import split_lines
from integration.sr_header import SR_CLASSES
from integration.store_scu import StoreScu

FINDINGS = "Größe ≤ 3 mm & <b>, 山.\n\nNo |effusion^."
MODALITIES = {"SR", "DOC", "OT", "PR", "KO"}


@dataclass(frozen=True)
class Archive:
    """An archive that was sent every kind of object of a draft, and a place for what it moves."""

    port: int
    mover: int
    sent: dict[str, bytes]  # by SOP Instance UID

    def ask(self, level: str, folder: Path, **keys: str) -> list[Dataset]:
        """The answers of findscu."""
        folder.mkdir()
        _run("findscu", "-S", "-X", "-od", folder, *self._where, *_keys(level, keys))
        return [dcmread(path) for path in sorted(folder.glob("rsp*.dcm"))]

    def get(self, folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        _run("getscu", "-S", "+B", "-od", folder, *self._where, *_keys("STUDY", {"StudyInstanceUID": self.study}))
        return _files(folder)

    def move(self, folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        to = ["-aem", "MOVESCU", "+P", str(self.mover), "+B"]  # with +B it does not heed -od
        keys = _keys("STUDY", {"StudyInstanceUID": self.study})
        _run("movescu", "-S", "-aet", "MOVESCU", *to, *self._where, *keys, folder=folder)
        return _files(folder)

    @property
    def study(self) -> str:
        return str(dcmread(BytesIO(next(iter(self.sent.values())))).StudyInstanceUID)

    @property
    def _where(self) -> list[str]:
        return ["-aec", "QRPACS", "127.0.0.1", str(self.port)]


def _keys(level: str, keys: dict[str, str]) -> list[str]:
    return [word for key, value in {"QueryRetrieveLevel": level, **keys}.items() for word in ("-k", f"{key}={value}")]


def _run(*command: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr.decode(errors="replace").replace("CANARY", "…")


def _files(folder: Path) -> dict[str, bytes]:
    return {str(dcmread(path).SOPInstanceUID): path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    folder, mover = tmp_path_factory.mktemp("read-back"), free_port()
    document = draft(folder, findings=FINDINGS, flags=FLAGS, labels=LABELS, attention=TWO_MAPS)
    with dcmqrscp(folder / "qr", mover) as port:
        yield Archive(port, mover, dict(_send_all(document, port)))


def _send_all(document: ReportDocument, port: int) -> Iterator[tuple[str, bytes]]:
    """Each kind, and the SR in each class; at last the note that rejects them."""
    sent: list[bytes] = []
    for sr_class in SR_CLASSES:
        sent.append(_send(document, DeliveryKind.SR, port, sr_class))
    for kind in sorted(set(ENCODERS) - {DeliveryKind.SR, DeliveryKind.REJECTION}):
        sent.append(_send(document, kind, port))
    named = tuple(read_sent(Delivery(payload=each)) for each in sent)
    withdrawn = replace(document, sent=named, withdrawn_at=datetime(2026, 8, 2, tzinfo=UTC))
    sent.append(_send(withdrawn, DeliveryKind.REJECTION, port))
    yield from ((str(dcmread(BytesIO(each)).SOPInstanceUID), each) for each in sent)


def _send(document: ReportDocument, kind: DeliveryKind, port: int, sr_class: SrClass = "basic") -> bytes:
    to = DicomDestination(name="pacs", ae_title="QRPACS", host="127.0.0.1", port=port, sr_class=sr_class)
    scu = StoreScu(to, "CXRNODE", kind)
    payload = scu.encode(document).payload
    assert scu.send(payload).outcome is Outcome.DELIVERED
    return payload


def test_the_study_is_found_by_its_patient_with_all_that_was_sent(archive: Archive, tmp_path: Path) -> None:
    (study,) = archive.ask("STUDY", tmp_path / "study", PatientID="CANARY-ID", StudyInstanceUID="", AccessionNumber="")
    assert (study.StudyInstanceUID, study.AccessionNumber) == (archive.study, "CANARY-ACC")
    keys = {"StudyInstanceUID": archive.study, "SeriesInstanceUID": "", "Modality": ""}
    series = archive.ask("SERIES", tmp_path / "series", **keys)
    assert {each.Modality for each in series} == MODALITIES
    found = set()
    for number, each in enumerate(series):
        keys = {"StudyInstanceUID": archive.study, "SeriesInstanceUID": each.SeriesInstanceUID, "SOPInstanceUID": ""}
        found |= {str(image.SOPInstanceUID) for image in archive.ask("IMAGE", tmp_path / str(number), **keys)}
    assert found == set(archive.sent)


def test_every_object_comes_back_by_c_get_and_c_move_as_the_bytes_that_were_sent(
    archive: Archive, tmp_path: Path
) -> None:
    fetched = {"get": archive.get(tmp_path / "get"), "move": archive.move(tmp_path / "move")}
    expected = {uid: data_set_bytes(payload) for uid, payload in archive.sent.items()}
    for how, files in fetched.items():
        assert {uid: data_set_bytes(file) for uid, file in files.items()} == expected, how


def test_every_sr_that_comes_back_shows_its_text(archive: Archive, tmp_path: Path) -> None:
    require("dsr2html")
    shown = []
    for uid, file in archive.get(tmp_path / "get").items():
        (tmp_path / uid).write_bytes(file)
        if dcmread(BytesIO(file)).Modality == "SR":
            page = subprocess.run(["dsr2html", tmp_path / uid], capture_output=True, check=True).stdout.decode()
            shown.append(html.unescape(re.sub(r"<br>\n", "\n", page)))
    assert len(shown) == len(SR_CLASSES) + 1
    assert all("\n".join(split_lines(FINDINGS)) in page for page in shown)
    assert all("UNVERIFIED" in page.upper() for page in shown)
