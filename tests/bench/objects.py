"""Synthetic objects to send: noise with a header, nothing of a person."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.uids import derive_uid

CR, CT, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"


class Kind(NamedTuple):
    """What is sent, and how much of it."""

    sop_class: str
    modality: str
    rows: int
    columns: int
    noise_bits: int  # what JPEG Lossless cannot take away
    count: int
    per_study: int


KINDS = {
    "dx": Kind(DX, "DX", 3000, 2500, noise_bits=12, count=20, per_study=2),
    "cr": Kind(CR, "CR", 2500, 2000, noise_bits=6, count=20, per_study=2),
    "ct": Kind(CT, "CT", 512, 512, noise_bits=12, count=400, per_study=100),
}


@dataclass(frozen=True)
class SentObject:
    """A data set as it goes on the wire, what its C-STORE-RQ says, and the file for those who send files."""

    file: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes


def make_objects(kind: str, folder: Path) -> list[SentObject]:
    """DX of 15 MB, CR of 4 MB in JPEG Lossless, CT slices of 0.5 MB. Made once in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{kind}{number:03d}.dcm" for number in range(KINDS[kind].count)]
    for number, file in enumerate(files):
        if not file.exists():
            _write(kind, number, file)
    return [_sent(file) for file in files]


def _write(kind: str, number: int, file: Path) -> None:
    raw = file.with_suffix(".raw")
    dcmwrite(raw, _image(kind, number), enforce_file_format=True)
    if kind == "cr" and (jpeg := shutil.which("dcmcjpeg")):
        subprocess.run([jpeg, "+e1", raw, file], check=True)
        raw.unlink()
    else:
        raw.rename(file)


def _image(kind: str, number: int) -> Dataset:
    of = KINDS[kind]
    study = number // of.per_study
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.Modality = of.sop_class, of.modality
    ds.SOPInstanceUID = derive_uid("bench", kind, str(number))
    ds.StudyInstanceUID = derive_uid("bench", kind, "study", str(study))
    ds.SeriesInstanceUID = derive_uid("bench", kind, "series", str(study))
    ds.PatientName, ds.PatientID, ds.BodyPartExamined = "BENCH", f"BENCH{study}", "CHEST"
    ds.Manufacturer, ds.InstanceNumber, ds.SamplesPerPixel = "BENCH", number, 1
    ds.PhotometricInterpretation, ds.Rows, ds.Columns = "MONOCHROME2", of.rows, of.columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = _noise(of.rows * of.columns, of.noise_bits)
    return ds


def _noise(pixels: int, bits: int) -> bytes:
    """Of two bytes each, little endian."""
    noise = bytearray(os.urandom(2 * pixels))
    for byte, mask in enumerate(((1 << bits) - 1).to_bytes(2, "little")):
        noise[byte::2] = noise[byte::2].translate(bytes(each & mask for each in range(256)))
    return bytes(noise)


def _sent(file: Path) -> SentObject:
    ds = dcmread(file, stop_before_pixels=True)
    content = file.read_bytes()
    start = 144 + int(ds.file_meta.FileMetaInformationGroupLength)
    return SentObject(file, ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID, content[start:])
