"""How makers write the same picture: inverted or not, with more or fewer bits, windowed or not, compressed or not."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from workers.phantom.picture import FILM_SIDE_MM

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
}


@dataclass(frozen=True)
class Habits:
    """One maker's way; all give the same light. The values are those of the command line's choices."""

    photometric: str = "MONOCHROME2"  # or MONOCHROME1
    bits_stored: int = 12  # 10 to 16
    has_window: bool = True
    transfer_syntax: UID = ExplicitVRLittleEndian  # one of SYNTAXES
    modality: str = "DX"  # or CR


def encode_pixels(ds: Dataset, film: NDArray[np.uint16], habits: Habits) -> Dataset:
    """The data set with its pixels, compressed as the maker does.

    film: (rows, columns) uint16, 16 bits, bone white. Raises FileNotFoundError if JPEG Lossless needs DCMTK's dcmcjpeg
    and it is not here.
    """
    _write_pixels(ds, film, habits)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if habits.transfer_syntax == JPEGLosslessSV1:
        return _compress_by_dcmtk(ds)
    if habits.transfer_syntax.is_encapsulated:
        ds.compress(habits.transfer_syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = habits.transfer_syntax
    return ds


def _write_pixels(ds: Dataset, film: NDArray[np.uint16], habits: Habits) -> None:
    is_inverted = habits.photometric == "MONOCHROME1"
    values = (~film if is_inverted else film) >> (16 - habits.bits_stored)
    ds.Rows, ds.Columns = film.shape
    ds.ImagerPixelSpacing = [round(FILM_SIDE_MM / ds.Rows, 4)] * 2
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = habits.photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, habits.bits_stored, habits.bits_stored - 1
    ds.PixelRepresentation = 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1 if is_inverted else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"  # DS as text: "0.0" is not the enumerated 0
    ds.PresentationLUTShape = "INVERSE" if is_inverted else "IDENTITY"
    if habits.has_window:
        ds.WindowCenter, ds.WindowWidth = 1 << (habits.bits_stored - 1), 1 << habits.bits_stored
    ds.add_new("PixelData", "OW", values.astype("<u2").tobytes())


def _compress_by_dcmtk(ds: Dataset) -> Dataset:
    """pydicom has no encoder for JPEG Lossless."""
    with TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain.dcm"), Path(folder, "packed.dcm")
        ds.save_as(plain, enforce_file_format=True)
        subprocess.run(["dcmcjpeg", "--encode-lossless-sv1", plain, packed], check=True)
        return dcmread(packed)
