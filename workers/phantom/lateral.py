"""A left lateral chest: the patient faces the viewer's left, the spine is at the right."""

import math
from collections.abc import Sequence

import numpy as np

from workers.phantom.case import Case, Kind
from workers.phantom.plate import Curve, Line, Plate, Point, Shadow, disc, ribbon, smooth, stream

# fmt: off
_BODY = [
    (430, -60), (425, 30), (370, 95), (255, 170), (190, 290), (165, 430), (172, 600), (205, 760), (215, 900),
    (205, 1100), (800, 1100), (812, 900), (838, 700), (862, 500), (850, 330), (790, 190), (690, 110), (615, 30),
    (610, -60),
]
_LUNGS = [
    (520, 125), (430, 150), (325, 225), (262, 330), (238, 460), (245, 590), (268, 690), (330, 655), (420, 640),
    (520, 660), (610, 715), (700, 790), (752, 850), (778, 800), (795, 650), (805, 480), (785, 320), (720, 200),
    (620, 135),
]
_HEART = [(268, 700), (258, 620), (285, 520), (350, 450), (430, 430), (505, 470), (545, 560), (545, 650), (500, 690)]
_ARCH = [(455, 445), (450, 360), (490, 300), (560, 285), (615, 330), (630, 420), (640, 560), (650, 720)]
_TRACHEA = [(540, -20), (525, 100), (512, 220), (500, 330), (492, 395)]
_STERNUM = [(385, 150), (300, 220), (238, 320), (205, 440), (198, 560)]
_SPINE = [(640, -30), (668, 80), (715, 190), (755, 310), (775, 440), (775, 580), (755, 720), (728, 860), (712, 1020)]
_SCAPULA = [(640, 170), (700, 220), (730, 330), (715, 430), (672, 330), (640, 240)]
_DOME = [(268, 690), (350, 655), (450, 650), (560, 690), (670, 775), (745, 850)]
_BUBBLE = [(340, 745), (380, 715), (440, 712), (490, 740), (480, 765), (350, 765)]
_FLUID = [(860, 560), (775, 575), (730, 640), (650, 700), (560, 715), (480, 695), (480, 900), (860, 900)]
# fmt: on


def cast_lateral(plate: Plate, case: Case) -> Shadow:
    """The sum of all shadows, (rows, columns) float32, as of a frontal chest; an effusion fills the angle behind."""
    outline = _curve(_BODY)
    body: Shadow = plate.fill(outline, blur=3) * (0.3 + 0.7 * plate.haze(outline, blur=40))
    air: Shadow = plate.fill(_curve(_LUNGS), blur=4) * (0.6 + 0.4 * plate.haze(_curve(_LUNGS), blur=30))
    air = air * (1 - 0.75 * plate.fill(_curve(_HEART), blur=8))
    if Kind.EFFUSION in case.kinds:
        air = air * (1 - plate.fill(_curve(_FLUID), blur=6))
    soft: Shadow = 0.66 + 0.16 * plate.haze(_curve(_HEART), blur=20) - 0.5 * air - _airways(plate)
    shadow: Shadow = body * (soft + _bones(plate) + _domes(plate)) + air * _vessels(plate, case.seed)
    return shadow


def _curve(points: Sequence[Point], *, closed: bool = True) -> Curve:
    return smooth(points, closed=closed)


def _airways(plate: Plate) -> Shadow:
    tree = plate.paint([], [(_curve(_TRACHEA, closed=False), 36, 255)], blur=4)
    shadow: Shadow = 0.12 * tree + 0.25 * plate.fill(_curve(_BUBBLE), blur=4)
    return shadow


def _domes(plate: Plate) -> Shadow:
    """Both, one a little above the other, as thin lines where they meet air."""
    dome = _curve(_DOME, closed=False)
    shadow: Shadow = 0.08 * plate.paint([], [(dome, 7, 255), (dome + np.array([8, 24]), 7, 255)], blur=3)
    return shadow


def _bones(plate: Plate) -> Shadow:
    spine = _curve(_SPINE, closed=False)
    bodies = [disc(x, y, 34, 24) for x, y in spine[::3]]
    ribs: list[Line] = [
        (
            _curve([(760, top), (690, top + 50), (560, top + 150), (400, top + 205), (270, top + 190)], closed=False),
            13,
            150,
        )
        for top in range(90, 620, 62)
    ]
    bone = 0.16 * plate.fill(*bodies, blur=3) + 0.08 * plate.fill(ribbon(spine, 60, 70), blur=8)
    front = 0.1 * plate.fill(ribbon(_curve(_STERNUM, closed=False), 13, 11), blur=2.5)
    shadow: Shadow = bone + front + 0.08 * plate.paint([], ribs, blur=2.5) + 0.07 * plate.fill(_curve(_SCAPULA), blur=3)
    return shadow


def _vessels(plate: Plate, seed: int) -> Shadow:
    rng = stream(seed, "vessels")
    rays: list[Line] = []
    for angle in rng.uniform(0, 6.28, 28):
        length = rng.uniform(70, 210)
        end = (500 + length * math.cos(angle), 430 + length * math.sin(angle))
        rays.append((_curve([(500, 430), end], closed=False), rng.uniform(2.5, 7), 130))
    arch = plate.haze(ribbon(_curve(_ARCH, closed=False), 32, 26), blur=10)
    shadow: Shadow = (
        0.26 * plate.paint([], rays, blur=2.5) + 0.3 * plate.haze(disc(500, 430, 52, 48), blur=15) + 0.22 * arch
    )
    return shadow
