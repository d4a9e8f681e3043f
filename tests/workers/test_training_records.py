"""Annotations as published, and what is said of one that cannot be used."""

import json
from pathlib import Path

import pytest
from training_toys import entry

from dicom_node.errors import Permanent
from workers.training.records import read_records


def _write(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "records.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_a_published_record_is_read_with_its_image_beside_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, entry(1, "Clear lungs.\n") | {"reason": " cough ", "split": "train"})

    (record,) = read_records(path)

    assert (record.id, record.view, record.reason, record.findings) == ("toy-1", "PA", "cough", "Clear lungs.")
    assert record.generate_method == "rule-based"
    assert record.image == tmp_path / "1.png"
    assert record.labels is None


def test_the_published_prefix_gives_way_to_the_folder_of_the_images(tmp_path: Path) -> None:
    path = _write(tmp_path, entry(1, "Clear.") | {"image": "mimic/files/p10/a.jpg"})

    assert read_records(path, images=Path("/films"))[0].image == Path("/films/files/p10/a.jpg")


def test_only_frontal_films_with_findings_are_used(tmp_path: Path) -> None:
    lateral, silent = entry(2, "Clear.") | {"view": "LATERAL"}, entry(3, " ")
    path = _write(tmp_path, entry(1, "Clear.") | {"view": "AP"}, lateral, silent)

    assert [record.id for record in read_records(path)] == ["toy-1"]


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_no_reason_is_no_indication(tmp_path: Path, reason: str | None) -> None:
    assert read_records(_write(tmp_path, entry(1, "Clear.") | {"reason": reason}))[0].reason == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"view": None}, "record 1: view"),
        ({"image": ["a.png"]}, "record 1: image"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "record 1: conversations: 0 turns of gpt"),
        ({"conversations": [{"from": "gpt"}]}, "record 1: conversations.0.value"),
    ],
)
def test_a_bad_record_is_named_with_its_field(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = _write(tmp_path, entry(0, "CANARY"), entry(1, "CANARY") | change)

    with pytest.raises(Permanent, match=words) as caught:
        read_records(path)

    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(("content", "words"), [("{}", "JSON list"), ("[", "JSON list"), ("[]", "no frontal film")])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "records.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(Permanent, match=words):
        read_records(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"absent\.json cannot be read"):
        read_records(tmp_path / "absent.json")
