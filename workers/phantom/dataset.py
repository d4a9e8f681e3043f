"""Pictures and reports of many phantom films, laid out as LLaVA-Rad's published annotations, to train on."""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from PIL import Image
from rich.progress import track

from workers.phantom.case import Case, Kind, draw_case
from workers.phantom.picture import draw_film
from workers.phantom.words import write_findings
from workers.pixels import equalise_histogram, to_8_bit

_PROMPT = "<image>\nProvide a description of the findings in the radiology image."
Record = dict[str, object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write DEST/images/*.png and DEST/records.json."""
    parser = argparse.ArgumentParser(prog="python -m workers.phantom.dataset", description=__doc__)
    parser.add_argument("destination", type=Path, metavar="DEST")
    parser.add_argument("--films", type=int, required=True)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    (options.destination / "images").mkdir(parents=True, exist_ok=True)
    seeds = range(options.first_seed, options.first_seed + options.films)
    write = partial(write_film, options.destination, options.size_px)
    with Pool(options.jobs) as pool:
        pairs = list(track(pool.imap(write, seeds, chunksize=16), "Films", total=len(seeds)))
    records = [record for pair in pairs for record in pair]
    (options.destination / "records.json").write_text(json.dumps(records, indent=1), encoding="utf-8")


def write_film(folder: Path, size_px: int, seed: int) -> list[Record]:
    """Write one picture, made 8-bit as the node makes what its model reads, and return its record.

    A film with the heart on the left is written turned over too, so that a side is learned from where a finding lies,
    not from where the heart is.
    """
    case = draw_case(seed)
    picture = Image.fromarray(equalise_histogram(to_8_bit(draw_film(case, size_px))))
    records = [_save(folder, picture, case, f"{seed:08d}")]
    if Kind.DEXTROCARDIA not in case.kinds:
        turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        records.append(_save(folder, turned, case.turned_over(), f"{seed:08d}-turned"))
    return records


def _save(folder: Path, picture: Image.Image, case: Case, name: str) -> Record:
    picture.save(folder / "images" / f"{name}.png")
    return _record(case, name)


def _record(case: Case, name: str) -> Record:
    return {
        "id": name,
        "image": f"images/{name}.png",
        "view": str(case.view),
        "reason": case.indication,
        "generate_method": "rule-based",
        "conversations": [{"from": "human", "value": _PROMPT}, {"from": "gpt", "value": write_findings(case)}],
        "labels": [finding.description for finding in case.findings] or ["no finding"],
    }


if __name__ == "__main__":
    main()
