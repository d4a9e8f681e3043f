"""Disease of lung and pleura: what it takes from the air, or adds to it.

Sides are those of the drawing, in which the heart is on the left. Tables are looked up by what a finding may lack, as
every kind has what its table needs.
"""

from collections.abc import Callable

import numpy as np

from workers.phantom.anatomy import LUNGS, SIGN, Build, Lungs, place, wall
from workers.phantom.case import Finding, Kind, Side, Size, Zone
from workers.phantom.plate import MIDLINE, Curve, Line, Plate, Point, disc, smooth

_UNITS_PER_MM = 1000 / 430
# the fluid's border at the wall and at the mediastinum
_FLUID_LEVELS: dict[Size | None, Point] = {
    Size.SMALL: (615.0, 728.0),
    Size.MODERATE: (535.0, 640.0),
    Size.LARGE: (365.0, 470.0),
}
# how far the lung has left the apex and the wall
_RIM: dict[Size | None, Point] = {Size.SMALL: (95.0, 42.0), Size.MODERATE: (150.0, 85.0), Size.LARGE: (210.0, 150.0)}
_NODULE_MM: dict[Size | None, Point] = {Size.SMALL: (20.0, 26.0), Size.LARGE: (34.0, 40.0)}
_ZONE_HEIGHT: dict[Zone | None, float] = {Zone.UPPER: 240.0, Zone.MID: 420.0, Zone.LOWER: 575.0}


def _effuse(plate: Plate, build: Build, lungs: Lungs, finding: Finding, rng: np.random.Generator) -> Lungs:
    """Fluid that climbs the wall and sinks towards the mediastinum."""
    lateral, medial = np.array(_FLUID_LEVELS[finding.size]) + rng.uniform(-14, 14)
    drop = medial - lateral
    surface: list[Point] = [
        (430, lateral - 20),
        (340, lateral + 6),
        (270, lateral + 0.5 * drop),
        (180, medial - 8),
        (0, medial),
    ]
    outline: list[Point] = [*surface, (0, 900), (430, 900)]
    fluid = plate.fill(_fit(outline, finding.side, build), blur=5)
    # Denser than the heart, so that a large one is white.
    return Lungs(lungs.air * (1 - fluid) - 0.24 * fluid * np.minimum(1, 2 * lungs.air), lungs.vessels * (1 - fluid))


def _collapse(plate: Plate, build: Build, lungs: Lungs, finding: Finding, rng: np.random.Generator) -> Lungs:
    """Air around a smaller and denser lung: dark without vessels, a white line between them."""
    side = finding.side
    whole = plate.fill(place(LUNGS[side], build), blur=2.2)
    outline = _shrink(smooth(LUNGS[side], closed=True), side, *(np.array(_RIM[finding.size]) * rng.uniform(0.95, 1.1)))
    outline = place([(float(x), float(y)) for x, y in outline[::2]], build)
    lung = plate.fill(outline, blur=2)
    line = plate.paint([], [(np.vstack([outline, outline[:1]]), 6, 255)], blur=1.6) * whole
    rim = np.clip(whole - lung, 0, 1)
    air = lungs.air * (1 - 0.4 * whole * lung) + rim * (0.25 + 0.15 * lungs.air) - 0.3 * line * (lungs.air > 0.2)
    return Lungs(air, lungs.vessels * (1 - rim))


def _shrink(lung: Curve, side: Side | None, from_apex: float, from_wall: float) -> Curve:
    """Apex and wall move towards the hilum; the medial border and the base stay."""
    outwards = np.clip((SIGN[side] * (lung[:, 0] - MIDLINE) - 60) / 200, 0, 1)
    high = np.clip((800 - lung[:, 1]) / 600, 0, 1)
    x = lung[:, 0] - SIGN[side] * from_wall * outwards * np.clip(2.2 * high, 0.2, 1)
    return np.column_stack([x, lung[:, 1] + from_apex * high**2])


def _consolidate(plate: Plate, build: Build, lungs: Lungs, finding: Finding, rng: np.random.Generator) -> Lungs:
    """A patch of soft lumps in one zone, through which open bronchi run dark."""
    y = _ZONE_HEIGHT[finding.zone] + rng.uniform(-15, 15)
    x = (0.6 if y < 500 else 0.7) * wall(y) + rng.uniform(-10, 10)
    radii, angles = rng.uniform(20, 70, 11), rng.uniform(0, 2 * np.pi, 11)
    lumps = [(x + r * np.cos(a), y + 0.85 * r * np.sin(a)) for r, a in zip(radii, angles, strict=True)]
    sign = SIGN[finding.side]
    discs = [disc(MIDLINE + sign * at * build.width, down, 42, 38) for at, down in lumps]
    patch = 1.05 * plate.fill(*discs, blur=11) * (1 - 0.36 * plate.paint([], _bronchi(x, y, sign, build), blur=3.5))
    return Lungs(lungs.air * (1 - patch), lungs.vessels * (1 - patch))


def _bronchi(x: float, y: float, sign: int, build: Build) -> list[Line]:
    fan = [(-42.0, -30.0), (-8.0, 2.0), (30.0, 38.0)]
    lines = [[(x - 85, y - 12), (x - 10, y + 0.5 * low), (x + 75, y + high)] for low, high in fan]
    return [(_fit_line(line, sign, build), 9, 255) for line in lines]


def _fit_line(points: list[Point], sign: int, build: Build) -> Curve:
    return smooth([(MIDLINE + sign * x * build.width, y) for x, y in points], closed=False)


def _grow_nodule(plate: Plate, build: Build, lungs: Lungs, finding: Finding, rng: np.random.Generator) -> Lungs:
    """A dense round shadow with a sharp edge, clear of heart, hilum and diaphragm."""
    radius = 0.5 * rng.uniform(*_NODULE_MM[finding.size]) * _UNITS_PER_MM
    y = _ZONE_HEIGHT[finding.zone] + rng.uniform(-20, 10)
    x = (0.55 if y < 500 else 0.78) * wall(y) + rng.uniform(-20, 15)
    centre = MIDLINE + SIGN[finding.side] * x * build.width
    nodule = plate.fill(disc(centre, y, radius, 0.95 * radius), blur=2)
    return Lungs(lungs.air * (1 - nodule) - 0.12 * nodule, lungs.vessels * (1 - nodule))


def _fit(points: list[Point], side: Side | None, build: Build) -> Curve:
    """A closed outline given from the midline outwards."""
    return place([(MIDLINE + SIGN[side] * x, y) for x, y in points], build)


_Draw = Callable[[Plate, Build, Lungs, Finding, np.random.Generator], Lungs]
# The lungs with one more finding.
LESIONS: dict[Kind, _Draw] = {
    Kind.EFFUSION: _effuse,
    Kind.PNEUMOTHORAX: _collapse,
    Kind.CONSOLIDATION: _consolidate,
    Kind.NODULE: _grow_nodule,
}
