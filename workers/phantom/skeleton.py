"""Ribs, shoulder girdle and spine of a frontal chest, whole or broken."""

from collections.abc import Sequence

import numpy as np

from workers.phantom.anatomy import SIGN, Build, wall
from workers.phantom.case import Finding, Kind, Side
from workers.phantom.plate import MIDLINE, Curve, Plate, Point, Shadow, box, ribbon, smooth, stream

# fmt: off
# from the midline outwards, for both sides
_CLAVICLE = [(30, 222), (78, 200), (150, 186), (235, 160), (310, 118), (378, 110)]
_SCAPULA = [
    (318, 128), (345, 175), (330, 262), (318, 360), (330, 440), (365, 350), (390, 262), (426, 190), (436, 140),
    (385, 118),
]
_HUMERUS = [(418, 150), (452, 128), (490, 150), (530, 250), (580, 420), (520, 420), (462, 262), (425, 205)]
# fmt: on
_RIB_HALF_WIDTH = 11.5
_POSTERIOR_RIBS, _ANTERIOR_RIBS = 11, 5
_BREAKABLE = range(4, 7)  # posterior ribs whose outer half lies over the middle of the lung
_GAP, _STEP, _TILT = 30.0, 24.0, 0.3  # units and radians: so that a picture of 200 pixels shows it
_BLADE_TO_MIDLINE = 92.0  # how much nearer the shoulder blades are when the arms hang


def shade_bones(plate: Plate, build: Build, air: Shadow, findings: Sequence[Finding], seed: int) -> Shadow:
    """Ribs show best over air; the shoulder girdle and the spine add to soft tissue."""
    broken = {(finding.side, rib) for finding in findings if finding.side for rib in _choose_broken(finding, seed)}
    lines = {(side, n): _posterior_rib(side, n, build) for side in Side for n in range(_POSTERIOR_RIBS)}
    pieces = [piece for rib, line in lines.items() for piece in (_break(line, rib[0]) if rib in broken else [line])]
    anterior = [_anterior_rib(side, n, build) for side in Side for n in range(_ANTERIOR_RIBS)]
    posterior = [ribbon(piece, _RIB_HALF_WIDTH, _RIB_HALF_WIDTH) for piece in pieces]
    ribs = 0.18 * _paint_bones(plate, posterior) + 0.11 * _paint_bones(plate, anterior)
    if broken:
        ribs = ribs + 0.18 * plate.fill(*(end for rib in broken for end in _ends(_break(lines[rib], rib[0]))), blur=2)
    shadow: Shadow = ribs * (0.3 + 0.7 * air) + _girdle(plate, build) + _spine(plate)
    return shadow


def _choose_broken(finding: Finding, seed: int) -> list[int]:
    """Three neighbours, or none if it is no fracture."""
    if finding.kind is not Kind.FRACTURE:
        return []
    first = int(stream(seed, finding.label).integers(_BREAKABLE.start, _BREAKABLE.stop))
    return [*range(first, first + 3)]


def _paint_bones(plate: Plate, outlines: Sequence[Curve], denser: Sequence[Curve] = ()) -> Shadow:
    """Bone is brighter at its rim, where the beam runs along the cortex."""
    rims = [(np.vstack([outline, outline[:1]]), 3.0, 255) for outline in outlines]
    fills = [(outline, 150) for outline in outlines] + [(outline, 240) for outline in denser]
    return plate.paint(fills, rims, blur=1.8)


def _posterior_rib(side: Side, number: int, build: Build) -> Curve:
    top = 122 + number * 58 + build.descent * number / _POSTERIOR_RIBS
    reach = wall(top + 60 + 6 * number)
    slope = 30 + 7 * number
    points = [
        (28, top + 14),
        (75, top - 2),
        (0.5 * reach, top + 4),
        (0.82 * reach, top + 0.55 * slope),
        (reach, top + 1.3 * slope),
    ]
    return smooth(_mirror(points, side, build), closed=False)


def _break(line: Curve, side: Side) -> list[Curve]:
    """Two pieces, the outer one moved off, dropped by a rib's width and tilted."""
    at = int(0.66 * len(line))
    outer = line[at:] - line[at]
    cos, sin = np.cos(_TILT), SIGN[side] * np.sin(_TILT)
    moved = outer @ np.array([[cos, sin], [-sin, cos]]) + line[at] + np.array([SIGN[side] * _GAP, _STEP])
    return [line[:at], moved]


def _ends(pieces: list[Curve]) -> list[Curve]:
    """Where a broken rib is densest, as callus grows and the pieces overlap."""
    return [ribbon(piece, _RIB_HALF_WIDTH, _RIB_HALF_WIDTH) for piece in (pieces[0][-6:], pieces[1][:5])]


def _anterior_rib(side: Side, number: int, build: Build) -> Curve:
    top = 215 + number * 72 + build.descent * number / _ANTERIOR_RIBS
    reach = wall(top)
    points = [(reach, top), (0.93 * reach, top + 40), (0.78 * reach, top + 80), (0.55 * reach, top + 112)]
    return ribbon(smooth(_mirror(points, side, build), closed=False), _RIB_HALF_WIDTH, 1.3 * _RIB_HALF_WIDTH)


def _girdle(plate: Plate, build: Build) -> Shadow:
    lift, pull = (28.0, _BLADE_TO_MIDLINE) if build.is_ap else (0.0, 0.0)
    clavicle = [(x, y - lift * x / 378) for x, y in _CLAVICLE]
    scapula = [(x - pull, y) for x, y in _SCAPULA]
    clavicles, blades, arms = (
        [_mirror(points, side, build) for side in Side] for points in (clavicle, scapula, _HUMERUS)
    )
    collar = _paint_bones(plate, [ribbon(smooth(line, closed=False), 17, 13) for line in clavicles])
    shoulder = _paint_bones(plate, [smooth(line, closed=True) for line in blades])
    arm = _paint_bones(plate, [smooth(line, closed=True) for line in arms])
    shadow: Shadow = 0.19 * collar + 0.09 * shoulder + 0.15 * arm
    return shadow


def _spine(plate: Plate) -> Shadow:
    """Vertebral bodies with darker discs between them, and a spinous process in each."""
    tops = [-20 + 26 * n + 0.9 * n * n for n in range(24)]
    bodies = [box(MIDLINE, top + 2, 27 + 0.5 * n, 21 + 1.6 * n) for n, top in enumerate(tops)]
    spines = [box(MIDLINE, top + 14, 4.5, 15 + 0.5 * n) for n, top in enumerate(tops)]
    column = plate.haze(box(MIDLINE, -60, 36, 1120), blur=14)
    shadow: Shadow = 0.03 * column + 0.08 * _paint_bones(plate, bodies, denser=spines)
    return shadow


def _mirror(points: Sequence[Point], side: Side, build: Build) -> Curve:
    """Points given from the midline outwards, on one side of it."""
    return np.array([(MIDLINE + SIGN[side] * x * build.width, y) for x, y in points])
