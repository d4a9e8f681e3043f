"""Films on disk against what the engine makes of the same file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress
from training_toys import write_toys

from dicom_node.errors import Permanent
from workers.llavarad.preprocess import to_tensor
from workers.training.films import films_key, load_films, normalise
from workers.training.records import Record, read_records

QUIET = Progress(disable=True)


def _record(image: Path) -> Record:
    return Record(id="film-1", image=image, view="PA", reason="", generate_method="", findings="Clear.")


@pytest.mark.parametrize("shape", [(90, 70), (64, 300), (28, 28)])
def test_the_model_sees_the_same_bits_in_training_and_at_work(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "film.png")

    films = load_films([_record(tmp_path / "film.png")], 28, tmp_path / "films.npy", QUIET)

    assert (films.shape, films.dtype) == ((1, 28, 28), np.uint8)
    assert np.array_equal(normalise(films[[0]])[0], to_tensor(pixels, 28).tensor)


def test_every_grey_level_survives(tmp_path: Path) -> None:
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "film.png")

    films = load_films([_record(tmp_path / "film.png")], 16, tmp_path / "films.npy", QUIET)

    assert np.array_equal(films[0].ravel(), np.arange(256))


def test_films_are_decoded_once(tmp_path: Path) -> None:
    records = read_records(write_toys(tmp_path, 3))
    first = load_films(records, 28, tmp_path / "films.npy", QUIET)
    for record in records:
        record.image.unlink()

    assert np.array_equal(load_films(records, 28, tmp_path / "films.npy", QUIET), first)


def test_the_key_follows_the_files_and_not_their_folder(tmp_path: Path) -> None:
    records, copies = (read_records(write_toys(tmp_path / name, 2)) for name in ("one", "two"))
    key = films_key(records, 28)

    assert films_key(copies, 28) == key
    assert films_key(records, 56) != key
    assert films_key(records[::-1], 28) != key
    Image.new("L", (8, 8)).save(copies[1].image)
    assert films_key(copies, 28) != key


def test_a_missing_image_is_named_by_its_record(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"record film-1: image .*absent\.png is missing"):
        films_key([_record(tmp_path / "absent.png")], 28)


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_a_damaged_image_is_named_by_its_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "film.png").write_bytes(content)

    with pytest.raises(Permanent, match=r"record film-1: image film\.png cannot be read"):
        load_films([replace(_record(tmp_path / "film.png"))], 28, tmp_path / "films.npy", QUIET)

    assert not (tmp_path / "films.npy").exists()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_an_image_of_more_than_8_bits_is_refused(tmp_path: Path, dtype: type) -> None:
    """As some published sets have them; nearly all of it would be white."""
    Image.fromarray(np.arange(28 * 28).reshape(28, 28).astype(dtype)).save(tmp_path / "film.tif")

    with pytest.raises(Permanent, match=r"record film-1: image film\.tif has more than 8 bits"):
        load_films([_record(tmp_path / "film.tif")], 28, tmp_path / "films.npy", QUIET)
