"""Radiographs for tests: published ones in ../shared/data, and small synthetic ones of the patient CANARY^PHI."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import config, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicom_node.uids import derive_uid

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CANARY = "CANARY^PHI"


def shared_data(*parts: str) -> Path:
    """A file or folder of the published test data; skips the test where it is absent."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"test data {Path(*parts)} is absent (expected below {SHARED_DATA})")
    return path


def shared_names(*folders: str) -> list[str]:
    """folder/file of every published file in the folders, for parametrising; empty where the data is absent."""
    return [f"{folder}/{path.name}" for folder in folders for path in sorted((SHARED_DATA / folder).glob("*"))]


def gradient(rows: int = 48, columns: int = 40) -> NDArray[np.uint16]:
    """(H, W) uint16 of 12 bits: dark at the left, bright at the right, a little different in every row."""
    across = np.linspace(0, 4000, columns)[None, :] + np.arange(rows)[:, None]
    return across.astype(np.uint16)


def make_dx(
    pixels: NDArray[Any] | None = None, *, transfer_syntax: str = ExplicitVRLittleEndian, **elements: Any
) -> FileDataset:
    """A DX chest radiograph, PA, for presentation. Elements by keyword replace the defaults; None removes one.

    Values are not validated: what senders write is not valid either.
    """
    pixel_module = _pixel_module(gradient() if pixels is None else pixels, transfer_syntax)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    with config.disable_value_validation():
        for keyword, value in {**_DEFAULTS, **pixel_module, **elements}.items():
            if value is not None:
                setattr(ds, keyword, value)
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = _DEFAULTS["SOPInstanceUID"]
    return ds


def write_dx(path: Path, pixels: NDArray[Any] | None = None, **elements: Any) -> Path:
    """Write `make_dx` as a Part 10 file."""
    path.write_bytes(dx_bytes(pixels, **elements))
    return path


def dx_bytes(pixels: NDArray[Any] | None = None, **elements: Any) -> bytes:
    """`make_dx` as the bytes of a Part 10 file."""
    ds = make_dx(pixels, **elements)
    file = BytesIO()
    with config.disable_value_validation():
        dcmwrite(file, ds)
    return file.getvalue()


def code_sequence(value: str, scheme: str, meaning: str) -> Sequence:
    """A code sequence of one item (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


_DEFAULTS: dict[str, Any] = {
    "SOPClassUID": DigitalXRayImageStorageForPresentation,
    "SOPInstanceUID": derive_uid("films", "instance"),
    "StudyInstanceUID": derive_uid("films", "study"),
    "SeriesInstanceUID": derive_uid("films", "series"),
    "Modality": "DX",
    "PresentationIntentType": "FOR PRESENTATION",
    "Manufacturer": "Maker of films",
    "PatientName": CANARY,
    "PatientID": "CANARY-ID",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "AccessionNumber": "CANARY-ACC",
    "StudyDate": "20260102",
    "StudyTime": "030405",
    "StudyID": "1",
    "ReferringPhysicianName": "",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "BurnedInAnnotation": "NO",
}


def _pixel_module(pixels: NDArray[Any], transfer_syntax: str) -> dict[str, Any]:
    """PS3.3 C.7.6.3 for an array of 8 or 16 bits; 16-bit values are said to hold 12."""
    bits = 8 * pixels.dtype.itemsize
    stored = 12 if bits == 16 else 8
    order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
    return {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.astype(pixels.dtype.newbyteorder(order)).tobytes(),
    }
