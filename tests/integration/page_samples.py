"""Drafts with a film, for the objects that are made for eyes."""

from io import BytesIO
from pathlib import Path

import numpy as np
from films import write_dx
from pydicom import dcmread
from pydicom.dataset import Dataset
from report_samples import make_document

from dicom_node.attention import maps_to_png
from dicom_node.peers import DicomDestination
from dicom_node.states import DeliveryKind
from integration.document import ReportDocument
from integration.objects import encoder

PACS = DicomDestination(name="pacs", ae_title="PACS", host="127.0.0.1")
EYES = (DeliveryKind.PDF, DeliveryKind.PAGE, DeliveryKind.GSPS)
TWO_MAPS = maps_to_png(np.arange(128, dtype=np.uint8).reshape(2, 8, 8))
# What a DX image needs beside `make_dx` so that nothing made of it is blamed for the image.
_WHOLE = {
    "PatientName": "CANARY^PHI^Anna",
    "StudyDescription": "Chest PA",
    "WindowCenter": "2000",
    "WindowWidth": "3000",
}


def draft(folder: Path, *, header: dict[str, object] | None = None, **changes: object) -> ReportDocument:
    """A draft of a film in the folder. header: elements of the film; None removes one."""
    elements = _WHOLE | (header or {})
    path = write_dx(folder / "film.dcm", **elements)
    return make_document(dcmread(path, stop_before_pixels=True), image=path, **changes)


def draft_of(path: Path, **changes: object) -> ReportDocument:
    """A draft of a published film."""
    return make_document(dcmread(path, stop_before_pixels=True), image=path, **changes)


def encoded(kind: DeliveryKind, document: ReportDocument) -> Dataset:
    """What the encoder of this kind writes, read back."""
    return dcmread(BytesIO(encoder(kind)(document, PACS).payload))


def pdf_of(ds: Dataset) -> bytes:
    return bytes(ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength])
