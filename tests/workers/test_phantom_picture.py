"""Every finding changes the film where it should, on its side, at the size a model sees."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.phantom.anatomy import draw_build
from workers.phantom.case import Case, Finding, Kind, Side, Size, View, Zone
from workers.phantom.picture import draw_film

SEEDS = range(4)
DEXTROCARDIA = Finding(Kind.DEXTROCARDIA)
SIDED = [
    *(Finding(Kind.EFFUSION, Side.LEFT, size) for size in Size),
    *(Finding(Kind.PNEUMOTHORAX, Side.LEFT, size) for size in Size),
    *(Finding(Kind.CONSOLIDATION, Side.LEFT, zone=zone) for zone in Zone),
    *(Finding(Kind.NODULE, Side.LEFT, Size.SMALL, zone) for zone in Zone),
    Finding(Kind.FRACTURE, Side.LEFT),
]
_film = functools.cache(draw_film)


def _share(film: NDArray[np.float64], top: float, bottom: float, left: float, right: float) -> NDArray[np.float64]:
    rows, columns = film.shape
    return film[int(top * rows) : int(bottom * rows), int(left * columns) : int(right * columns)]


def _grey(case: Case, size_px: int = 256) -> NDArray[np.float64]:
    return _film(case, size_px) / 65535


def _change(seed: int, *findings: Finding) -> NDArray[np.float64]:
    """How much brighter the findings make the film of a healthy chest."""
    return _grey(Case(seed, findings=findings)) - _grey(Case(seed))


def test_equal_cases_draw_equal_films_and_other_seeds_others() -> None:
    assert np.array_equal(draw_film(Case(2), 256), _film(Case(2), 256))
    assert not np.array_equal(_film(Case(2), 256), _film(Case(3), 256))


def test_film_has_the_size_asked_for_and_sixteen_bits() -> None:
    film = draw_film(Case(1), 400)

    assert film.shape == (400, 400)
    assert film.dtype == np.uint16
    assert 0.75 * 65535 < film.max() <= 65535


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_film_is_the_large_one_with_fewer_pixels(seed: int) -> None:
    case = Case(seed, findings=(Finding(Kind.PACEMAKER, Side.LEFT), Finding(Kind.FRACTURE, Side.RIGHT)))
    small, large = _grey(case), _grey(case, 1024).reshape(256, 4, 256, 4).mean(axis=(1, 3))

    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.997
    assert abs(small.mean() - large.mean()) < 0.01
    grain = [np.diff(_share(film, 0.86, 0.96, 0.3, 0.4), axis=0).std() for film in (small, large)]
    assert grain[0] == pytest.approx(grain[1], rel=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_are_darker_than_mediastinum_and_abdomen_and_brighter_than_air(seed: int) -> None:
    film = _grey(Case(seed))
    lungs = max(_share(film, 0.3, 0.6, 0.24, 0.34).mean(), _share(film, 0.3, 0.5, 0.68, 0.76).mean())

    assert _share(film, 0.0, 0.04, 0.05, 0.2).mean() < 0.4 * lungs
    assert lungs < 0.65 * _share(film, 0.45, 0.65, 0.48, 0.53).mean()
    assert lungs < 0.65 * _share(film, 0.86, 0.94, 0.3, 0.5).mean()


@pytest.mark.parametrize("seed", SEEDS)
def test_heart_is_on_the_viewers_right_unless_in_dextrocardia(seed: int) -> None:
    for film in (_grey(Case(seed)), np.fliplr(_grey(Case(seed, findings=(DEXTROCARDIA,))))):
        assert _share(film, 0.55, 0.66, 0.55, 0.70).mean() > 1.3 * _share(film, 0.55, 0.66, 0.28, 0.43).mean()


def test_marker_is_at_the_patients_left_unless_the_film_is_mirrored() -> None:
    def corners(case: Case) -> list[bool]:
        film = _grey(case)
        return [bool(_share(film, 0.06, 0.12, left, left + 0.07).max() > 0.9) for left in (0.08, 0.85)]

    true, mirrored = Case(3, findings=(DEXTROCARDIA,)), Case(3, findings=(DEXTROCARDIA,), is_mirrored=True)

    assert [corners(case) for case in (Case(3), true, mirrored)] == [[False, True], [False, True], [True, False]]


@pytest.mark.parametrize("finding", SIDED, ids=lambda one: f"{one.size or one.zone} {one.kind}")
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("anatomy", [(), (DEXTROCARDIA,)], ids=["heart left", "heart right"])
def test_a_sided_finding_is_seen_on_its_side_alone(finding: Finding, side: Side, anatomy: tuple[Finding, ...]) -> None:
    shown = Case(5, findings=(replace(finding, side=side), *anatomy))
    change = np.abs(_grey(shown) - _grey(Case(5, findings=anatomy)))
    halves = {Side.RIGHT: change[:, :128], Side.LEFT: change[:, 128:]}

    assert (halves[side] > 0.08).sum() > 60  # pixels, of 1.7 mm
    assert (halves[side.opposite] > 0.08).sum() < 0.05 * (halves[side] > 0.08).sum()


@pytest.mark.parametrize("seed", SEEDS)
def test_fluid_is_bright_below_and_air_dark_above(seed: int) -> None:
    fluid = _change(seed, Finding(Kind.EFFUSION, Side.RIGHT, Size.LARGE))
    air = _change(seed, Finding(Kind.PNEUMOTHORAX, Side.RIGHT, Size.LARGE))

    assert _share(fluid, 0.5, 0.65, 0.2, 0.35).mean() > 0.25
    assert _share(fluid, 0.15, 0.25, 0.3, 0.4).mean() == pytest.approx(0, abs=0.02)
    assert _share(air, 0.15, 0.3, 0.3, 0.4).mean() < -0.05


def test_no_heart_is_of_doubtful_size() -> None:
    for view in (View.PA, View.AP):
        for seed in range(100):
            assert draw_build(Case(seed, view)).cardiothoracic_ratio < 0.5
            assert draw_build(Case(seed, view, (Finding(Kind.CARDIOMEGALY),))).cardiothoracic_ratio > 0.58


@pytest.mark.parametrize("seed", SEEDS)
def test_devices_are_the_brightest_things_where_they_are(seed: int) -> None:
    tube = _change(seed, Finding(Kind.TUBE))
    pacemaker = _change(seed, Finding(Kind.PACEMAKER, Side.LEFT))

    assert (_share(tube, 0.05, 0.25, 0.45, 0.55) > 0.08).sum() > 60
    assert (tube[128:] > 0.08).sum() < 10
    assert (_share(pacemaker, 0.15, 0.35, 0.6, 0.9) > 0.2).sum() > 200


def test_an_effusion_on_a_lateral_film_is_behind() -> None:
    findings = (Finding(Kind.EFFUSION, Side.LEFT, Size.MODERATE),)
    change = _grey(Case(1, View.LATERAL, findings)) - _grey(Case(1, View.LATERAL))

    assert _share(change, 0.68, 0.76, 0.66, 0.74).mean() > 0.15
    assert _share(change, 0.2, 0.5, 0.2, 0.5).mean() == pytest.approx(0, abs=0.01)
