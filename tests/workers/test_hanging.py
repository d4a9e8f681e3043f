"""A film whose header says that it is mirrored or turned is never read: its sides would be wrong."""

from pathlib import Path

import pytest
from films import dx_bytes

from workers.hanging import turned


@pytest.mark.parametrize(
    ("orientation", "how"),
    [
        (["L", "F"], ""),
        (["LA", "FA"], ""),
        (None, ""),
        ("", ""),
        (["", ""], ""),
        (["R", "F"], "rows to R, columns to F"),
        (["L", "H"], "rows to L, columns to H"),
        (["F", "L"], "rows to F, columns to L"),
        (["P", "F"], "rows to P, columns to F"),
        ("L", "its orientation is not in letters"),
        (["CANARY^NAME", "F"], "its orientation is not in letters"),
    ],
)
def test_only_a_film_with_the_left_on_its_right_is_read(orientation: object, how: str, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(dx_bytes(PatientOrientation=orientation))
    assert turned(film) == how
