"""What is not of the body: pacemaker, breathing tube and the lead letter."""

from collections.abc import Callable

import numpy as np

from workers.phantom.anatomy import SIGN, TRACHEA, Build, place
from workers.phantom.case import Finding, Kind
from workers.phantom.plate import MIDLINE, Curve, Plate, Point, Shadow, ribbon, smooth

# fmt: off
_MARKER = [(880, 62), (880, 120), (916, 120), (916, 110), (891, 110), (891, 62)]
# in the drawing's units: the vein above the heart, then the right ventricle or the right atrium
_TO_VENTRICLE = [(462, 235), (452, 330), (438, 470), (450, 600), (520, 690), (610, 712)]
_TO_ATRIUM = [(466, 235), (458, 330), (432, 470), (420, 560), (440, 590), (462, 560)]
# fmt: on


def shade_marker(plate: Plate) -> Shadow:
    """The lead letter beside the patient's left shoulder: 1 where no beam passes."""
    return plate.fill(np.array(_MARKER, dtype=np.float64), blur=0.7)


def _pacemaker(plate: Plate, build: Build, finding: Finding, rng: np.random.Generator) -> Shadow:
    """A box below the clavicle, and one or two leads through the vein into the right heart."""
    sign = SIGN[finding.side]
    x, y = MIDLINE + sign * build.width * rng.uniform(252, 285), rng.uniform(225, 260)
    case = smooth(_round_box(x, y, 54, 47), closed=True)
    vein: list[Point] = [(x, y - 40), (x - sign * 50, 170), (MIDLINE + sign * 90, 178)]
    ends = [_TO_VENTRICLE, _TO_ATRIUM][: int(rng.integers(1, 3))]
    leads = [(place([*vein, *end], build, closed=False), 7.0, 255) for end in ends]
    shadow: Shadow = 0.5 * plate.fill(case, blur=1.5) + 0.34 * plate.paint([], leads, blur=1)
    return shadow


def _round_box(x: float, y: float, half_width: float, half_height: float) -> Curve:
    at = np.array([(-1, -0.6), (-0.6, -1), (0.6, -1), (1, -0.6), (1, 0.6), (0.6, 1), (-0.6, 1), (-1, 0.6)])
    return np.array([x, y]) + at * (half_width, half_height)


def _tube(plate: Plate, build: Build, _: Finding, rng: np.random.Generator) -> Shadow:
    """From the mouth, above the film, down the trachea to well above the carina."""
    tip = rng.uniform(240, 275)
    inside = [(x, y) for x, y in TRACHEA if 0 < y < tip]
    line = place([(560, -30), (532, 10), (508, 55), *inside, (493, tip)], build, closed=False)
    shadow: Shadow = 0.1 * plate.fill(ribbon(line, 13, 13), blur=1.5) + 0.4 * plate.paint([], [(line, 8, 255)], blur=1)
    return shadow


_Draw = Callable[[Plate, Build, Finding, np.random.Generator], Shadow]
# Metal and lead paint, (rows, columns) float32 to be added.
DEVICES: dict[Kind, _Draw] = {Kind.PACEMAKER: _pacemaker, Kind.TUBE: _tube}
