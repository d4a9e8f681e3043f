"""A synthetic chest film as a DX image, so that the node can be shown and tested without a patient."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from dicom_node.errors import InvalidHeader
from dicom_node.uids import derive_uid
from workers.phantom.anatomy import Plate, cast_marker, cast_shadows, draw_build

_BITS_STORED = 12
_WHITE = (1 << _BITS_STORED) - 1
_FILM_SIDE_MM = 430.0  # a 43 × 43 cm detector
_NOISE = 0.012
_STRUCTURE = 0.02


def draw_chest(seed: int, size_px: tuple[int, int] = (1024, 1024)) -> NDArray[np.uint16]:
    """A frontal PA chest without disease, as a viewer hangs it: the patient's left at the viewer's right.

    size_px: rows, columns. Returns (rows, columns) uint16, 12 bits, bone white. Equal seeds give equal pixels.
    """
    rng = np.random.default_rng(seed)
    plate = Plate(size_px)
    shadow = cast_shadows(plate, draw_build(rng), rng)
    shadow += _STRUCTURE * np.clip(4 * shadow, 0, 1) * _mottle(size_px, rng)
    shadow = np.maximum(_develop(shadow), 0.96 * cast_marker(plate))
    shadow += rng.normal(0, _NOISE, size_px) * np.sqrt(0.15 + shadow)
    return np.asarray(np.clip(shadow * _WHITE, 0, _WHITE), dtype=np.uint16)


def film_dataset(
    seed: int,
    *,
    patient_name: str = "Phantom^Chest",
    patient_id: str = "PHANTOM-1",
    accession_number: str = "DEMO0001",
    studied_at: datetime,
) -> Dataset:
    """A whole DX For Presentation data set with its file meta; equal arguments give equal UIDs.

    studied_at: aware; its own offset is the one in the header. Raises InvalidHeader if it is naive.
    Source: PS3.3 A.26.
    """
    ds = Dataset()
    _write_patient(ds, patient_name, patient_id)
    _write_order(ds, accession_number)
    _write_uids(ds, str(seed), patient_id, accession_number)
    _write_times(ds, studied_at)
    _write_acquisition(ds)
    _write_view(ds)
    _write_pixels(ds, draw_chest(seed))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def main(arguments: list[str] | None = None) -> None:
    """Write one film as a Part 10 file."""
    parser = argparse.ArgumentParser(prog="python -m workers.phantom.film", description=__doc__)
    parser.add_argument("destination", type=Path, metavar="DEST.dcm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patient-name", default="Phantom^Chest")
    parser.add_argument("--patient-id", default="PHANTOM-1")
    parser.add_argument("--accession-number", default="DEMO0001")
    parser.add_argument(
        "--studied-at", type=datetime.fromisoformat, default=datetime.now(UTC), help="ISO 8601 with offset"
    )
    options = vars(parser.parse_args(arguments))
    destination, seed = options.pop("destination"), options.pop("seed")
    film_dataset(seed, **options).save_as(destination, enforce_file_format=True)


def _develop(shadow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Straight up to 0.6, then a shoulder that never reaches white."""
    shoulder = 0.6 + 0.38 * np.tanh((shadow - 0.6) / 0.38)
    return np.where(shadow < 0.6, np.maximum(shadow, 0.02), shoulder).astype(np.float32)


def _mottle(size_px: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven tissue: noise of three grains, about unit variance."""
    mottle = np.zeros(size_px, dtype=np.float32)
    for cells in (24, 64, 160):
        grain = rng.normal(0, 0.8, (cells, cells)).astype(np.float32)
        mottle += _stretch(_stretch(grain, size_px[0]).T, size_px[1]).T
    return mottle


def _stretch(grain: NDArray[np.float32], length_px: int) -> NDArray[np.float32]:
    """Interpolate the first axis to a length, with an eased weight so that no grid shows."""
    at = np.linspace(0, len(grain) - 1.001, length_px)
    cell = at.astype(np.intp)
    part = (at - cell).astype(np.float32)[:, None]
    ease = part * part * (3 - 2 * part)
    return np.asarray(grain[cell] * (1 - ease) + grain[cell + 1] * ease, dtype=np.float32)


def _write_patient(ds: Dataset, patient_name: str, patient_id: str) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = patient_name
    ds.PatientID = patient_id
    ds.PatientBirthDate = "19600229"
    ds.PatientSex = "O"


def _write_order(ds: Dataset, accession_number: str) -> None:
    ds.AccessionNumber = accession_number
    ds.StudyID = accession_number
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Chest PA"
    request = Dataset()
    request.RequestedProcedureID = "RP-" + accession_number[:13]  # SH, at most 16 characters
    request.RequestedProcedureDescription = "Chest radiograph, PA"
    request.ScheduledProcedureStepID = "SP-" + accession_number[:13]
    ds.RequestAttributesSequence = [request]


def _write_uids(ds: Dataset, *identity: str) -> None:
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.StudyInstanceUID = derive_uid("phantom-study", *identity)
    ds.SeriesInstanceUID = derive_uid("phantom-series", *identity)
    ds.SOPInstanceUID = derive_uid("phantom-film", *identity)
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1


def _write_times(ds: Dataset, studied_at: datetime) -> None:
    if studied_at.utcoffset() is None:
        raise InvalidHeader(f"studied_at = {studied_at.isoformat()}, expected a time with an offset")
    ds.TimezoneOffsetFromUTC = studied_at.strftime("%z")[:5]
    for event in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{event}Date", studied_at.strftime("%Y%m%d"))
        setattr(ds, f"{event}Time", studied_at.strftime("%H%M%S"))


def _write_acquisition(ds: Dataset) -> None:
    ds.Modality = "DX"
    ds.Manufacturer = "dicom-node phantom"
    ds.ManufacturerModelName = "phantom film"
    ds.SeriesDescription = "Synthetic chest PA"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.DetectorType = "DIRECT"
    ds.PositionerType = "NONE"
    ds.BurnedInAnnotation = "NO"  # the L is lead in the beam, as on any film
    ds.LossyImageCompression = "00"
    ds.AcquisitionContextSequence = []


def _write_view(ds: Dataset) -> None:
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    ds.ImageLaterality = "U"
    ds.AnatomicRegionSequence = [_code("51185008", "Chest")]
    view = _code("272479007", "postero-anterior")
    view.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [view]


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code


def _write_pixels(ds: Dataset, pixels: NDArray[np.uint16]) -> None:
    ds.Rows, ds.Columns = pixels.shape
    ds.ImagerPixelSpacing = [round(_FILM_SIDE_MM / ds.Rows, 4)] * 2
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, _BITS_STORED, _BITS_STORED - 1
    ds.PixelRepresentation = 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"  # DS as text: "0.0" is not the enumerated 0
    ds.PresentationLUTShape = "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = (_WHITE + 1) // 2, _WHITE + 1
    ds.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())


if __name__ == "__main__":
    main()
