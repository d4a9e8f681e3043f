"""The training set is laid out as the published one, and its pictures are what the node would show its model."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from workers.phantom import dataset, sheet
from workers.phantom.case import Kind, draw_case
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits
from workers.phantom.words import write_findings
from workers.pixels import read_pixels

LABELS_OF_6 = ["moderate left pneumothorax", "small right effusion"]


def test_command_writes_pictures_and_records(tmp_path: Path) -> None:
    dataset.main([str(tmp_path), "--films", "3", "--first-seed", "123", "--size-px", "64", "--jobs", "1"])

    records = {record["id"]: record for record in json.loads((tmp_path / "records.json").read_text())}
    cases = {f"{seed:08d}": draw_case(seed) for seed in range(123, 126)}
    upright = [name for name, case in cases.items() if Kind.DEXTROCARDIA not in case.kinds]
    cases |= {f"{name}-turned": cases[name].turned_over() for name in upright}
    assert records.keys() == cases.keys()
    for name, case in cases.items():
        human, gpt = records[name]["conversations"]
        assert (records[name]["view"], records[name]["reason"]) == (case.view, case.indication)
        assert human["value"] == "<image>\nProvide a description of the findings in the radiology image."
        assert (gpt["from"], gpt["value"]) == ("gpt", write_findings(case))
        assert records[name]["labels"] == ([finding.description for finding in case.findings] or ["no finding"])
        with Image.open(tmp_path / records[name]["image"]) as picture:
            assert (picture.mode, picture.size) == ("L", (64, 64))


def test_a_film_turned_over_is_the_mirrored_picture_with_the_other_sides(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    film, turned = dataset.write_film(tmp_path, 64, 6)
    with Image.open(tmp_path / str(film["image"])) as picture, Image.open(tmp_path / str(turned["image"])) as mirrored:
        assert np.array_equal(np.asarray(picture)[:, ::-1], np.asarray(mirrored))
    swap = {"left": "right", "right": "left"}
    swapped = {" ".join(swap.get(word, word) for word in label.split()) for label in LABELS_OF_6}
    assert film["labels"] == LABELS_OF_6
    assert set(turned["labels"]) == swapped | {"dextrocardia"}


def test_pictures_are_made_as_the_node_makes_them(tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film_dataset(
        draw_case(9), Habits(bits_stored=16), studied_at=datetime(2026, 1, 1, tzinfo=UTC), size_px=128
    ).save_as(film, enforce_file_format=True)
    (tmp_path / "images").mkdir()

    dataset.write_film(tmp_path, 128, 9)

    with Image.open(tmp_path / "images/00000009.png") as picture:
        difference = np.abs(np.asarray(picture, dtype=float) - read_pixels(film))
    assert difference.mean() < 3  # the node's picture has been a JPEG


def test_sheet_names_what_it_shows(tmp_path: Path) -> None:
    sheet.main([str(tmp_path / "sheet.png")])

    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 1000
