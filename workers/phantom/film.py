"""A synthetic chest film as a DICOM image, so that the node can be shown and tested without a patient."""

import argparse
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset

from workers.phantom.case import Case, Finding, Kind, Side, View, draw_case, draw_finding
from workers.phantom.habits import SYNTAXES, Habits, encode_pixels
from workers.phantom.header import write_header
from workers.phantom.picture import draw_film


def film_dataset(
    case: Case,
    habits: Habits = Habits(),
    *,
    patient_name: str = "Phantom^Chest",
    patient_id: str = "PHANTOM-1",
    accession_number: str = "DEMO0001",
    studied_at: datetime,
    size_px: int = 1024,
) -> Dataset:
    """A whole DX or CR data set with its file meta; equal arguments give equal UIDs, an equal seed an equal study.

    studied_at: aware; its own offset is the one in the header. Raises InvalidHeader if it is naive, FileNotFoundError
    if JPEG Lossless is asked for and DCMTK is not here.
    Source: PS3.3 A.26 and A.2.
    """
    ds = Dataset()
    write_header(ds, case, habits, (patient_name, patient_id, accession_number), studied_at)
    return encode_pixels(ds, draw_film(case, size_px), habits)


def main(arguments: list[str] | None = None) -> None:
    """Write one film as a Part 10 file, and print what is to be seen in it."""
    options = vars(_parser().parse_args(arguments))
    destination = options.pop("destination")
    case = choose_case(
        options.pop("seed"), options.pop("finding"), options.pop("view"), is_mirrored=options.pop("mirrored")
    )
    habits = Habits(
        photometric=options.pop("photometric"),
        bits_stored=options.pop("bits_stored"),
        has_window=not options.pop("no_window"),
        transfer_syntax=SYNTAXES[options.pop("transfer_syntax")],
        modality=options.pop("modality"),
    )
    film_dataset(case, habits, **options).save_as(destination, enforce_file_format=True)
    print(", ".join(finding.description for finding in case.findings) or "no finding")


def choose_case(seed: int, labels: list[str], view: View | None, *, is_mirrored: bool) -> Case:
    """The seed's own case, with other findings if any are named and another view if one is given.

    labels: "left-effusion", "tube", or "none" alone. Raises ValueError for what no film can show.
    """
    case = draw_case(seed)
    if labels or view is View.LATERAL or is_mirrored:
        findings = tuple(_draw_named(seed, label) for label in labels if label != "none")
        if is_mirrored:
            findings = (*findings, Finding(Kind.DEXTROCARDIA))
        case = replace(case, findings=findings, is_mirrored=is_mirrored)
    return replace(case, view=view or case.view)


def _draw_named(seed: int, label: str) -> Finding:
    side, _, kind = label.rpartition("-")
    return draw_finding(random.Random(f"{label} {seed}"), Kind(kind), Side(side) if side else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.phantom.film", description=__doc__)
    parser.add_argument("destination", type=Path, metavar="DEST.dcm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--finding", action="append", default=[], help="left-effusion, tube …, or none; repeat for more; else by chance"
    )
    parser.add_argument("--view", type=View, choices=list(View), help="PA or AP by chance if not given")
    parser.add_argument("--mirrored", action="store_true", help="the film is turned over, lead marker and all")
    parser.add_argument("--photometric", choices=["MONOCHROME1", "MONOCHROME2"], default="MONOCHROME2")
    parser.add_argument("--bits-stored", type=int, choices=range(10, 17), default=12)
    parser.add_argument("--no-window", action="store_true")
    parser.add_argument("--transfer-syntax", choices=list(SYNTAXES), default="explicit")
    parser.add_argument("--modality", choices=["DX", "CR"], default="DX")
    parser.add_argument("--patient-name", default="Phantom^Chest")
    parser.add_argument("--patient-id", default="PHANTOM-1")
    parser.add_argument("--accession-number", default="DEMO0001")
    parser.add_argument(
        "--studied-at", type=datetime.fromisoformat, default=datetime.now(UTC), help="ISO 8601 with offset"
    )
    return parser


if __name__ == "__main__":
    main()
